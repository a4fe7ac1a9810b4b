//! Addresses of servers: parsed, redacted, with their secrets revealed.

use std::fmt::Write as _;
use std::net::IpAddr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use serde::Serializer;

use towline_api::Result;
use towline_api::secret::reveal;

/// Value of `url` for the embedded store.
pub(crate) const EMBEDDED: &str = "embedded";

/// Deployment behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topology {
    /// One server, over TCP, TLS or a Unix socket.
    Single,
    /// Sentinels, which name the master of a service.
    Sentinel { service: String },
    /// Cluster; any node tells of the others.
    Cluster,
}

/// Parsed address.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) topology: Topology,
    /// The server, or the sentinels or cluster nodes to ask first; all with the credentials for the data.
    pub(crate) seeds: Vec<ConnectionInfo>,
    pub(crate) database: i64,
}

/// Schemes, each with the scheme of one node and the topology.
const SCHEMES: [(&str, &str, Topology); 9] = [
    ("redis://", "redis://", Topology::Single),
    ("rediss://", "rediss://", Topology::Single),
    ("unix://", "unix://", Topology::Single),
    ("redis+unix://", "redis+unix://", Topology::Single),
    (
        "redis+sentinel://",
        "redis://",
        Topology::Sentinel { service: String::new() },
    ),
    (
        "rediss+sentinel://",
        "rediss://",
        Topology::Sentinel { service: String::new() },
    ),
    ("redis+cluster://", "redis://", Topology::Cluster),
    ("rediss+cluster://", "rediss://", Topology::Cluster),
    ("${secret.", "", Topology::Single),
];

/// Topology that the scheme of an address names; `None` if the scheme is unknown. An address that is a secret as a whole
/// counts as a single server.
pub(crate) fn topology(url: &str) -> Option<Topology> {
    let found = SCHEMES.into_iter().find(|(scheme, ..)| url.starts_with(scheme));
    found.map(|(_, _, topology)| topology)
}

/// Whether the address asks for TLS.
pub(crate) fn is_tls(url: &str) -> bool {
    url.starts_with("rediss")
}

/// Parses an address whose secrets are revealed. The error does not quote it.
pub(crate) fn parse(url: &str) -> Result<Address, String> {
    const ONE: &str = "the address is not valid; it should look like `redis://:password@host:6379/0`, with special \
                       characters in the password escaped (`%40` for `@`)";
    const MANY: &str = "the address is not valid; it should look like `redis+sentinel://host:26379,other:26379/service/0` \
                        or `redis+cluster://host:6379,other:6379`";
    let known = |(scheme, ..): &(&str, &str, Topology)| !scheme.starts_with('$') && url.starts_with(scheme);
    let Some((_, node, topology)) = SCHEMES.into_iter().find(known) else {
        return Err(ONE.to_owned());
    };
    if topology == Topology::Single {
        let seed = url.into_connection_info().map_err(|_| ONE.to_owned())?;
        let database = seed.redis_settings().db();
        return Ok(Address {
            topology: Topology::Single,
            seeds: vec![seed],
            database,
        });
    }
    let (_, credentials, rest) = parts(url);
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let credentials = credentials.map_or_else(String::new, |credentials| format!("{credentials}@"));
    let default_port = if topology == Topology::Cluster { 6379 } else { 26379 };
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
    let (topology, database) = match topology {
        Topology::Cluster if path.is_empty() || path == "0" => (Topology::Cluster, 0),
        Topology::Cluster => return Err("a cluster has no databases; leave out the number".to_owned()),
        _ => {
            let (service, database) = path.split_once('/').unwrap_or((path, "0"));
            let database = database.parse().map_err(|_| MANY.to_owned())?;
            if service.is_empty() {
                return Err(MANY.to_owned());
            }
            let service = service.to_owned();
            (Topology::Sentinel { service }, database)
        }
    };
    Ok(Address {
        topology,
        seeds,
        database,
    })
}

/// The address with `***` in place of user and password, for messages, receipts and cache keys. Secrets elsewhere in it stay
/// unread.
pub(crate) fn redacted(url: &str) -> String {
    match parts(url) {
        (scheme, Some(_), rest) => format!("{scheme}***@{rest}"),
        (_, None, _) => url.to_owned(),
    }
}

/// Normalised name of the server without credentials, equal for all spellings of an address, and its database. `None` if it
/// depends on a secret.
pub(crate) fn server_identity(url: &str) -> Option<(String, i64)> {
    let (scheme, _, rest) = parts(url);
    let address = parse(&format!("{scheme}{rest}")).ok()?;
    let mut hosts: Vec<String> = address.seeds.iter().map(|seed| host(seed.addr())).collect();
    hosts.sort();
    let hosts = hosts.join(",");
    let server = match &address.topology {
        Topology::Single => hosts,
        Topology::Sentinel { service } => format!("{hosts}/{service}"),
        Topology::Cluster => format!("the cluster {hosts}"),
    };
    Some((server, address.database))
}

/// Host and port; all names of this machine become `localhost`.
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

/// The address with its secrets revealed. A secret in place of the user or the password is escaped here; everything else must
/// be escaped as in any URL.
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

/// For serde: keeps passwords out of cache keys.
pub(crate) fn serialize<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redacted(url))
}

/// For serde: a password is shown only if it is a reference to a secret.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) fn serialize_password<S: Serializer>(password: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let is_name = |password: &&String| password.starts_with("${secret.") && password.ends_with('}');
    let shown = password.as_ref().filter(is_name);
    serializer.serialize_str(shown.map_or("***", String::as_str))
}

/// Scheme with `://`, credentials without their `@`, and the rest. The last `@` ends the credentials, so that a password with
/// an unescaped `@` is not taken for a host and shown.
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
    fn parses_every_topology() {
        let address = parse("redis+sentinel://me:pa%40ss@a,b:27000/main/3").unwrap();
        assert_eq!(
            address.topology,
            Topology::Sentinel {
                service: "main".to_owned()
            }
        );
        assert_eq!(address.database, 3);
        let shown: Vec<String> = address.seeds.iter().map(|seed| seed.addr().to_string()).collect();
        assert_eq!(shown, ["a:26379", "b:27000"]);
        assert_eq!(address.seeds[1].redis_settings().password(), Some("pa@ss"));
        let cluster = parse("rediss+cluster://a,b:7001").unwrap();
        assert_eq!((cluster.topology, cluster.seeds.len()), (Topology::Cluster, 2));
        assert_eq!(parse("redis://h:1/4").unwrap().database, 4);
        for wrong in [
            "redis+sentinel://a",
            "redis+cluster://a/3",
            "http://a",
            "redis://a:port",
            "${secret.X}",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(topology("${secret.X}"), Some(Topology::Single));
        assert_eq!(topology("http://x"), None);
    }

    #[test]
    fn spellings_of_one_server_are_equal() {
        let here = Some(("localhost:6379".to_owned(), 0));
        for url in [
            "redis://localhost",
            "redis://127.0.0.1:6379",
            "redis://[::1]/0",
            "redis://me:${secret.X}@LOCALHOST:6379/0",
        ] {
            assert_eq!(server_identity(url), here, "{url}");
        }
        assert_eq!(server_identity("redis://cache:1/3"), Some(("cache:1".to_owned(), 3)));
        assert_eq!(
            server_identity("redis+cluster://b,a"),
            server_identity("redis+cluster://a:6379,b:6379")
        );
        assert_ne!(
            server_identity("redis+sentinel://a/x"),
            server_identity("redis+sentinel://a/y")
        );
        assert_eq!(server_identity("${secret.URL}"), None);
    }

    #[test]
    fn escapes_secrets_and_nothing_else() {
        // Cargo sets this variable for every test.
        let url = revealed("redis://u%40:${secret.CARGO_PKG_NAME}@host/0").unwrap();
        assert_eq!(url, "redis://u%40:towline%2Dpublish@host/0");
        assert_eq!(
            revealed("redis://${secret.CARGO_PKG_NAME}").unwrap(),
            "redis://towline-publish"
        );
    }
}
