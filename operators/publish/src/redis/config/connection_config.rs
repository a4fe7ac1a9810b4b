//! Connection parameters that all sinks share, and their checks.

use std::path::Path;

use crate::redis::config::address;
use crate::redis::config::address::Topology;
use crate::redis::config::key_checks::bad_config;
use towline_api::Problem;

/// Connection parameters. Each sink has fields of its own for them, because serde cannot refuse unknown keys of a flattened
/// struct.
pub(crate) struct ConnectionConfig<'a> {
    pub(crate) url: &'a str,
    pub(crate) ca: Option<&'a Path>,
    pub(crate) client_certificate: Option<&'a Path>,
    pub(crate) client_key: Option<&'a Path>,
    pub(crate) sentinel_user: Option<&'a str>,
    pub(crate) sentinel_password: Option<&'a str>,
    pub(crate) namespace: &'a str,
    pub(crate) connections: usize,
    /// Seconds.
    pub(crate) retry_timeout: u64,
}

impl ConnectionConfig<'_> {
    /// Errors in the parameters.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = check_address(self.url, self.ca.is_some() || self.client_certificate.is_some());
        if self.client_certificate.is_some() != self.client_key.is_some() {
            problems.push(bad_config(
                "client_key",
                "`client_certificate` and `client_key` are needed together",
                None,
            ));
        }
        problems.extend(check_sentinels(self.url, self.sentinel_user, self.sentinel_password));
        problems
    }
}

/// Checks an address without reading its secrets.
fn check_address(url: &str, certificates: bool) -> Vec<Problem> {
    let secret = url.starts_with("${secret.");
    if url != address::EMBEDDED && address::topology(url).is_none() {
        // The address is not quoted: it may contain a password.
        let help = "write `embedded`, or `redis://host:6379` (also `rediss://`, `unix://`, `redis+sentinel://`, \
                    `redis+cluster://`)";
        return vec![bad_config(
            "url",
            "this is not the address of a Redis server",
            Some(help),
        )];
    }
    if !secret
        && url != address::EMBEDDED
        && !url.contains("${secret.")
        && let Err(reason) = address::parse(url)
    {
        return vec![bad_config("url", &reason, None)];
    }
    if certificates && !secret && !address::is_tls(url) {
        return vec![bad_config("url", "certificates need TLS", Some("write `rediss://`"))];
    }
    Vec::new()
}

/// Checks the credentials for sentinels.
fn check_sentinels(url: &str, user: Option<&str>, password: Option<&str>) -> Option<Problem> {
    let at = match (user, password) {
        (None, None) => return None,
        (Some(_), None) => {
            let help = "write `sentinel_password: \"${secret.NAME}\"` beside it";
            return Some(bad_config("sentinel_user", "a user needs a password", Some(help)));
        }
        (Some(_), _) => "sentinel_user",
        (None, Some(_)) => "sentinel_password",
    };
    let whole_secret = url.starts_with("${secret.");
    let asked = whole_secret || matches!(address::topology(url), Some(Topology::Sentinel { .. }));
    (!asked).then(|| {
        let help = "write `redis+sentinel://host:26379/service`, or leave it out";
        bad_config(at, "`url` names no sentinels", Some(help))
    })
}
