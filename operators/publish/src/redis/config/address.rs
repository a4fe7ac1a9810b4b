//! Addresses of servers: shown without their credentials, opened with them.

use std::fmt::Write as _;
use std::net::IpAddr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use serde::Serializer;

use towline_api::Result;
use towline_api::secret::reveal;

/// The word for the store in a file.
pub(crate) const EMBEDDED: &str = "embedded";

/// What stands behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One server, over TCP, TLS or a socket of the system.
    Single,
    /// Sentinels that know which server is the master of this service.
    Sentinel { service: String },
    /// A cluster; any of its nodes knows the others.
    Cluster,
}

/// An address, read.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) shape: Shape,
    /// The server, or the sentinels or nodes to ask first; all with the credentials of the data.
    pub(crate) seeds: Vec<ConnectionInfo>,
    pub(crate) database: i64,
}

/// The schemes with what they stand for: the scheme of one node, and the shape.
const SCHEMES: [(&str, &str, Shape); 9] = [
    ("redis://", "redis://", Shape::Single),
    ("rediss://", "rediss://", Shape::Single),
    ("unix://", "unix://", Shape::Single),
    ("redis+unix://", "redis+unix://", Shape::Single),
    (
        "redis+sentinel://",
        "redis://",
        Shape::Sentinel { service: String::new() },
    ),
    (
        "rediss+sentinel://",
        "rediss://",
        Shape::Sentinel { service: String::new() },
    ),
    ("redis+cluster://", "redis://", Shape::Cluster),
    ("rediss+cluster://", "rediss://", Shape::Cluster),
    ("${secret.", "", Shape::Single),
];

/// What an address stands for, as far as its beginning says it; `None` if it is none. Of an address that is a secret as a
/// whole nothing is known.
pub(crate) fn shape(url: &str) -> Option<Shape> {
    let found = SCHEMES.into_iter().find(|(scheme, ..)| url.starts_with(scheme));
    found.map(|(_, _, shape)| shape)
}

/// Whether the address asks for TLS.
pub(crate) fn is_tls(url: &str) -> bool {
    url.starts_with("rediss")
}

/// Reads an address whose secrets are revealed. The error is a sentence that does not repeat it.
pub(crate) fn read(url: &str) -> Result<Address, String> {
    const ONE: &str = "the address is not valid; it should look like `redis://:password@host:6379/0`, with special \
                       characters in the password escaped (`%40` for `@`)";
    const MANY: &str = "the address is not valid; it should look like `redis+sentinel://host:26379,other:26379/service/0` \
                        or `redis+cluster://host:6379,other:6379`";
    let known = |(scheme, ..): &(&str, &str, Shape)| !scheme.starts_with('$') && url.starts_with(scheme);
    let Some((_, node, shape)) = SCHEMES.into_iter().find(known) else {
        return Err(ONE.to_owned());
    };
    if shape == Shape::Single {
        let seed = url.into_connection_info().map_err(|_| ONE.to_owned())?;
        let database = seed.redis_settings().db();
        return Ok(Address {
            shape: Shape::Single,
            seeds: vec![seed],
            database,
        });
    }
    let (_, credentials, rest) = parts(url);
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let credentials = credentials.map_or_else(String::new, |credentials| format!("{credentials}@"));
    let default_port = if shape == Shape::Cluster { 6379 } else { 26379 };
    let seed = |host: &str| {
        let port = if host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        {
            String::new()
        } else {
            format!(":{default_port}")
        };
        let seed = format!("{node}{credentials}{host}{port}/0");
        seed.into_connection_info().map_err(|_| MANY.to_owned())
    };
    let seeds = hosts.split(',').map(seed).collect::<Result<Vec<_>, _>>()?;
    let (shape, database) = match shape {
        Shape::Cluster if path.is_empty() || path == "0" => (Shape::Cluster, 0),
        Shape::Cluster => return Err("a cluster has no databases; leave out the number".to_owned()),
        _ => {
            let (service, database) = path.split_once('/').unwrap_or((path, "0"));
            let database = database.parse().map_err(|_| MANY.to_owned())?;
            if service.is_empty() {
                return Err(MANY.to_owned());
            }
            let service = service.to_owned();
            (Shape::Sentinel { service }, database)
        }
    };
    Ok(Address { shape, seeds, database })
}

/// The address with `***` in place of user and password: for people, receipts and cache keys. Secrets in the rest stay
/// unread.
pub(crate) fn redacted(url: &str) -> String {
    match parts(url) {
        (scheme, Some(_), rest) => format!("{scheme}***@{rest}"),
        (_, None, _) => url.to_owned(),
    }
}

/// The server that an address leads to, without its credentials, written the same however the address is, and its
/// database. `None` where a secret keeps that unknown.
pub(crate) fn place(url: &str) -> Option<(String, i64)> {
    let (scheme, _, rest) = parts(url);
    let address = read(&format!("{scheme}{rest}")).ok()?;
    let mut hosts: Vec<String> = address.seeds.iter().map(|seed| host(seed.addr())).collect();
    hosts.sort();
    let hosts = hosts.join(",");
    let server = match &address.shape {
        Shape::Single => hosts,
        Shape::Sentinel { service } => format!("{hosts}/{service}"),
        Shape::Cluster => format!("the cluster {hosts}"),
    };
    Some((server, address.database))
}

/// A host with its port; that of this machine has one name.
fn host(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            let host = host.to_lowercase();
            let plain = host.trim_start_matches('[').trim_end_matches(']');
            let here = plain == "localhost" || plain.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
            format!("{}:{port}", if here { "localhost" } else { &host })
        }
        other => other.to_string(),
    }
}

/// The address with its secrets, ready to connect. A secret in place of the user or the password is taken as it is,
/// whatever characters it has; all else must be escaped as in every URL.
pub(crate) fn revealed(url: &str) -> Result<String> {
    let (scheme, Some(credentials), rest) = parts(url) else {
        return reveal(url);
    };
    let credentials = match credentials.split_once(':') {
        Some((user, password)) => format!("{}:{}", credential(user)?, credential(password)?),
        None => credential(credentials)?,
    };
    Ok(format!("{scheme}{credentials}@{}", reveal(rest)?))
}

/// For serde: the cache key of a sink must not hold a password.
pub(crate) fn serialize<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redacted(url))
}

/// For serde: a password is shown only where it is the name of a secret.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) fn serialize_password<S: Serializer>(password: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let is_name = |password: &&String| password.starts_with("${secret.") && password.ends_with('}');
    let shown = password.as_ref().filter(is_name);
    serializer.serialize_str(shown.map_or("***", String::as_str))
}

/// Scheme with `://`, credentials without their `@`, and the rest. The last `@` ends the credentials, so that a
/// password with an unescaped `@` is not taken for a host and shown.
fn parts(url: &str) -> (&str, Option<&str>, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    match rest.rfind('@') {
        Some(at) => (scheme, Some(&rest[..at]), &rest[at + 1..]),
        None => (scheme, None, rest),
    }
}

fn credential(text: &str) -> Result<String> {
    if !text.contains("${secret.") {
        return Ok(text.to_owned());
    }
    let mut escaped = String::new();
    for byte in reveal(text)?.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_credentials() {
        assert_eq!(redacted("redis://:hunter2@host:1/0"), "redis://***@host:1/0");
        assert_eq!(redacted("redis://me:hun@ter/2@host"), "redis://***@host");
        assert_eq!(redacted("redis://host"), "redis://host");
        assert_eq!(redacted("${secret.URL}"), "${secret.URL}");
        assert_eq!(redacted("embedded"), "embedded");
        assert_eq!(redacted("redis+cluster://u:p@a:1,b:2"), "redis+cluster://***@a:1,b:2");
    }

    #[test]
    fn reads_what_is_behind_an_address() {
        let address = read("redis+sentinel://me:pa%40ss@a,b:27000/main/3").unwrap();
        assert_eq!(
            address.shape,
            Shape::Sentinel {
                service: "main".to_owned()
            }
        );
        assert_eq!(address.database, 3);
        let shown: Vec<String> = address.seeds.iter().map(|seed| seed.addr().to_string()).collect();
        assert_eq!(shown, ["a:26379", "b:27000"]);
        assert_eq!(address.seeds[1].redis_settings().password(), Some("pa@ss"));
        let cluster = read("rediss+cluster://a,b:7001").unwrap();
        assert_eq!((cluster.shape, cluster.seeds.len()), (Shape::Cluster, 2));
        assert_eq!(read("redis://h:1/4").unwrap().database, 4);
        for wrong in [
            "redis+sentinel://a",
            "redis+cluster://a/3",
            "http://a",
            "redis://a:port",
            "${secret.X}",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(shape("${secret.X}"), Some(Shape::Single));
        assert_eq!(shape("http://x"), None);
    }

    #[test]
    fn one_place_has_one_name() {
        let here = Some(("localhost:6379".to_owned(), 0));
        for url in [
            "redis://localhost",
            "redis://127.0.0.1:6379",
            "redis://[::1]/0",
            "redis://me:${secret.X}@LOCALHOST:6379/0",
        ] {
            assert_eq!(place(url), here, "{url}");
        }
        assert_eq!(place("redis://cache:1/3"), Some(("cache:1".to_owned(), 3)));
        assert_eq!(place("redis+cluster://b,a"), place("redis+cluster://a:6379,b:6379"));
        assert_ne!(place("redis+sentinel://a/x"), place("redis+sentinel://a/y"));
        assert_eq!(place("${secret.URL}"), None);
    }

    #[test]
    fn escapes_secrets_and_nothing_else() {
        // Cargo sets this variable for every test.
        let url = revealed("redis://u%40:${secret.CARGO_PKG_NAME}@host/0").unwrap();
        assert_eq!(url, "redis://u%40:towline%2Dpublish@host/0");
        assert_eq!(
            revealed("redis://${secret.CARGO_PKG_NAME}").unwrap(),
            "redis://towline-operators"
        );
    }
}
