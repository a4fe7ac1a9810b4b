//! Targets of the sinks, by which a pipeline with two sinks on one target is refused.

use crate::redis::config::address;
use towline_api::target;

/// Targets of a sink: its keys, its namespace, and with `publish: swap` two whole databases: `staging` gives the number of the
/// staging database.
pub(crate) fn targets(url: &str, key: &str, namespace: &str, staging: impl Fn(i64) -> Option<i64>) -> Vec<String> {
    let Some((server, database)) = address::server_identity(url) else {
        let server = address::redacted(url);
        return vec![target::keys(key, &server), namespace_target(namespace, &server)];
    };
    let in_database = |database: i64| format!("database {database} of {server}");
    let mut targets = vec![
        target::keys(key, &in_database(database)),
        namespace_target(namespace, &in_database(database)),
    ];
    if let Some(staging) = staging(database) {
        targets.extend([database, staging].map(|database| format!("all of {}", in_database(database))));
        targets.push(target::keys(key, &in_database(staging)));
        targets.push(namespace_target(namespace, &in_database(staging)));
    }
    targets
}

fn namespace_target(namespace: &str, server: &str) -> String {
    format!("the keys of the namespace `{namespace}` in {server}")
}
