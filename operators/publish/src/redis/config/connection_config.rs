//! How a server is reached: what the parameters of every sink say of it.

use std::path::Path;
use std::time::Duration;

use crate::redis::client::connection::Security;
use crate::redis::config::address;
use crate::redis::config::address::Shape;
use crate::redis::config::checks::bad;
use crate::redis::publish::task::Target;
use towline_api::{Problem, Result};

/// The parameters. They stand in the configuration of each sink, for serde cannot refuse unknown keys of a part that is
/// flattened into another.
pub(crate) struct Reach<'a> {
    pub(crate) url: &'a str,
    pub(crate) ca: Option<&'a Path>,
    pub(crate) client_certificate: Option<&'a Path>,
    pub(crate) client_key: Option<&'a Path>,
    pub(crate) sentinel_user: Option<&'a str>,
    pub(crate) sentinel_password: Option<&'a str>,
    pub(crate) namespace: &'a str,
    pub(crate) connections: usize,
    /// Seconds.
    pub(crate) patience: u64,
}

impl Reach<'_> {
    /// What is wrong with them.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = check_address(self.url, self.ca.is_some() || self.client_certificate.is_some());
        if self.client_certificate.is_some() != self.client_key.is_some() {
            problems.push(bad(
                "client_key",
                "`client_certificate` and `client_key` are needed together",
                None,
            ));
        }
        problems.extend(check_sentinels(self.url, self.sentinel_user, self.sentinel_password));
        problems
    }

    /// The server, whose secrets and certificates are read now.
    pub(crate) fn target(&self) -> Result<Target> {
        let security = Security::read(self.ca, self.client_certificate.zip(self.client_key))?
            .known_to_sentinels(self.sentinel_user, self.sentinel_password)?;
        let mut target = Target::read(self.url, security)?;
        self.namespace.clone_into(&mut target.namespace);
        target.connections = self.connections;
        target.patience = Duration::from_secs(self.patience);
        Ok(target)
    }
}

/// What is wrong with an address, without its secrets.
fn check_address(url: &str, certificates: bool) -> Vec<Problem> {
    let secret = url.starts_with("${secret.");
    if url != address::EMBEDDED && address::shape(url).is_none() {
        // The address itself is not repeated: it may hold a password.
        let help = "write `embedded`, or `redis://host:6379` (also `rediss://`, `unix://`, `redis+sentinel://`, \
                    `redis+cluster://`)";
        return vec![bad("url", "this is not the address of a Redis server", Some(help))];
    }
    if !secret
        && url != address::EMBEDDED
        && !url.contains("${secret.")
        && let Err(reason) = address::read(url)
    {
        return vec![bad("url", &reason, None)];
    }
    if certificates && !secret && !address::is_tls(url) {
        return vec![bad(
            "url",
            "certificates are of use only with TLS",
            Some("write `rediss://`"),
        )];
    }
    Vec::new()
}

/// What is wrong with the credentials for sentinels.
fn check_sentinels(url: &str, user: Option<&str>, password: Option<&str>) -> Option<Problem> {
    let at = match (user, password) {
        (None, None) => return None,
        (Some(_), None) => {
            let help = "write `sentinel_password: \"${secret.NAME}\"` beside it";
            return Some(bad("sentinel_user", "a user needs a password", Some(help)));
        }
        (Some(_), _) => "sentinel_user",
        (None, Some(_)) => "sentinel_password",
    };
    let whole_secret = url.starts_with("${secret.");
    let asked = whole_secret || matches!(address::shape(url), Some(Shape::Sentinel { .. }));
    (!asked).then(|| {
        let help = "write `redis+sentinel://host:26379/service`, or leave it out";
        bad(at, "`url` names no sentinels", Some(help))
    })
}
