//! The places that sinks write to, so that two of one pipeline do not meet in one.

use crate::redis::config::address;
use towline_api::target;

/// What a sink writes: keys, the names beside them, and with `publish: swap` two databases as wholes: `staging` tells the
/// number of the second from that of the first.
pub(crate) fn targets(url: &str, key: &str, namespace: &str, staging: impl Fn(i64) -> Option<i64>) -> Vec<String> {
    let Some((server, database)) = address::place(url) else {
        let server = address::redacted(url);
        return vec![target::keys(key, &server), beside(namespace, &server)];
    };
    let in_database = |database: i64| format!("database {database} of {server}");
    let mut targets = vec![
        target::keys(key, &in_database(database)),
        beside(namespace, &in_database(database)),
    ];
    if let Some(staging) = staging(database) {
        targets.extend([database, staging].map(|database| format!("all of {}", in_database(database))));
        targets.push(target::keys(key, &in_database(staging)));
        targets.push(beside(namespace, &in_database(staging)));
    }
    targets
}

fn beside(namespace: &str, server: &str) -> String {
    format!("the keys of the namespace `{namespace}` in {server}")
}
