//! `RedisSink`: publishes recommendations.

mod parameter_checks;
mod task;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redis::config::connection_config::ConnectionConfig;
use crate::redis::config::defaults::{
    default_chunk, default_connections, default_in_flight, default_retry_timeout, is_false,
};
use crate::redis::config::key_checks::{check_key, check_namespace};
use crate::redis::config::settings::{Document, Encoding, Gates, Publish, StaleKeys};
use crate::redis::config::{address, targets};
use towline_api::{
    Artifact, Context, DatasetPort, Describe, Form, Inputs, ModelPort, NodeType, Operator, Optional, Output, Port,
    Problem, Purity, Receipt, Result, Sink, TypeContext, target,
};

/// Publishes recommendations for an online service: one key per user, in a Redis server or in a file.
///
/// The input has one row per user: the user's id (tags `user` and `id`) and a list column `recommendations`. The value
/// under each key is the JSON `{"user_id": 42, "recommendations": [1, 2, 3]}`, where the first name is that of the id
/// column. Ids are written as they came; encoded columns are decoded. A row without a user is not written; the receipt
/// has the number of such rows. With `encoding: hash` any table is published, one hash per row.
///
/// `RECS:META` holds the metadata of the published generation (number, rows, checksum, model, time); it is written last. A
/// batch that fails leaves it unchanged, and with `swap` and `pointer` readers keep the previous generation; `towline run
/// --resume` continues after the last chunk that the server has acknowledged. Several sinks in one database need a `namespace`
/// each. The user of the server needs, beside the commands that write, `INFO`, `EXISTS`, `SCAN`, `HSET`, `CLIENT ID` and
/// `CLIENT KILL`, for `swap` also `EVAL`, `SWAPDB` and `FLUSHDB`, for `pointer` `EVAL` and `FUNCTION`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSink {
    /// Address of the server: `redis://[[user]:password@]host[:port][/database]`, `rediss://` for TLS, `unix:///path/to/socket`,
    /// `redis+sentinel://[[user]:password@]host[:port],.../service[/database]` or `redis+cluster://host[:port],...`.
    /// `${secret.NAME}` in place of the password is read when it is used, and needs no escaping. `embedded` needs no server:
    /// the keys are written to the file `path`.
    #[serde(default = "default_url", serialize_with = "address::serialize")]
    pub url: String,
    /// File of the embedded store (redb, table `keys`). A new batch replaces the file.
    #[serde(default = "default_path")]
    pub path: PathBuf,
    /// File of commands for `redis-cli --pipe` to write instead, as in `resp: output/recommendations.resp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resp: Option<PathBuf>,
    /// Certificate of the certificate authority (CA) of the server, in PEM, as in `ca: certs/ca.pem`; by default the CAs that
    /// the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Client certificate, in PEM, for mutual TLS: `client_certificate: certs/client.pem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    /// Private key of `client_certificate`, in PEM: `client_key: certs/client.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// User name for the sentinels, if they need one: `sentinel_user: watcher`. The credentials in `url` are those for the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = towline_api::cache_ignored)]
    pub sentinel_user: Option<String>,
    /// Password for the sentinels, as in `sentinel_password: "${secret.SENTINEL}"`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "address::serialize_password"
    )]
    #[schemars(transform = towline_api::cache_ignored)]
    pub sentinel_password: Option<String>,
    /// Pattern of the keys: `{column}` stands for the row's value in that column, `{{` and `}}` for literal braces.
    #[serde(default = "default_key")]
    pub key: String,
    /// Type of the value under each key.
    #[serde(default)]
    pub encoding: Encoding,
    /// Content of a document.
    #[serde(default)]
    pub document: Document,
    /// Time to live of the keys in seconds, as in `ttl: 604800`; by default they do not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub ttl: Option<u64>,
    /// Publish mode: how a new generation replaces the previous one.
    #[serde(default)]
    pub publish: Publish,
    /// Handling of stale keys (of users that are no longer in the batch), with `publish: overwrite`.
    #[serde(default)]
    pub stale: StaleKeys,
    /// Number of earlier generations to keep for `towline rollback`: with `swap` 0 (the default) or 1, with `pointer` any number,
    /// 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub keep: Option<u64>,
    /// Number of the staging database with `publish: swap`, as in `staging: 5`; by default the one after that of `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub staging: Option<i64>,
    /// Prefix of the metadata keys (`RECS:META`).
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Publish gates: conditions that a generation must meet, as in `gates: { min_keys: 1000 }`.
    #[serde(default)]
    pub gates: Gates,
    /// Number of keys per pipeline. Small chunks with `in_flight: 1` and a `rate_limit` delay readers least
    /// (`docs/book/src/guides/publish.md`).
    #[serde(default = "default_chunk")]
    #[schemars(range(min = 1, max = 100_000))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub chunk: usize,
    /// Maximum number of pipelines in flight.
    #[serde(default = "default_in_flight")]
    #[schemars(range(min = 1, max = 256))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub in_flight: usize,
    /// Number of connections to each server for documents; one more is opened for metadata.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 64))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub connections: usize,
    /// Maximum number of keys to write per second, as in `rate_limit: 20000`; by default unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub rate_limit: Option<u64>,
    /// Whether an input without users may replace published keys, as in `allow_empty: true`; by default it is an error, because
    /// it is usually caused by a mistake upstream.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_empty: bool,
    /// Retry timeout in seconds, after a connection broke or the server became unreachable, and for a server that is loading its
    /// data. A server that is unreachable at the start is an error at once.
    #[serde(default = "default_retry_timeout")]
    #[schemars(range(min = 0, max = 86_400), extend("x-renamed-from" = "patience"))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub retry_timeout: u64,
}

fn default_url() -> String {
    address::EMBEDDED.to_owned()
}

fn default_path() -> PathBuf {
    PathBuf::from("output/recommendations.redb")
}

fn default_key() -> String {
    "USER:{user_id}".to_owned()
}

fn default_namespace() -> String {
    "RECS".to_owned()
}

/// Written by hand because the address may hold a password.
impl std::fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSink")
            .field("url", &address::redacted(&self.url))
            .field("key", &self.key)
            .field("publish", &self.publish)
            .finish_non_exhaustive()
    }
}

pub(crate) const INPUT: DatasetPort = DatasetPort::required(
    "input",
    "One row per user: the user's id and the list column `recommendations`.",
);
pub(crate) const MODEL: ModelPort<Optional> = ModelPort::optional(
    "model",
    "The model that made the lists; its digest goes into `RECS:META`.",
);

impl Describe for RedisSink {
    const NAME: &'static str = "RedisSink";
    const CODE_VERSION: u32 = 3;
    const PURITY: Purity = Purity::Effect;
    const PORTS: &'static [Port] = &[INPUT.port(), MODEL.port()];
    const EXAMPLE: &'static str =
        "op: RedisSink\ninput: recommendations\nwith: { url: embedded, key: \"USER:{user_id}\" }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = self.connection_config().problems();
        problems.extend(check_namespace(&self.namespace));
        if !self.writes_file() {
            problems.extend(check_key(&self.key, &self.namespace));
        }
        problems.extend(self.check_destination());
        problems.extend(self.check_mode());
        problems
    }
}

impl Operator for RedisSink {
    fn output_type(&self, inputs: &Inputs<NodeType>, _context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let problems = self.input_problems(&INPUT.input_type(inputs)?.schema);
        if problems.is_empty() {
            Ok(NodeType::Receipt)
        } else {
            Err(problems)
        }
    }

    fn form(&self) -> Form<'_> {
        Form::Sink(self)
    }
}

impl Sink for RedisSink {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        self.publish(inputs, context)
    }

    fn targets(&self) -> Vec<String> {
        match &self.resp {
            Some(path) => vec![target::path(path)],
            None if self.writes_file() => vec![target::path(&self.path)],
            None => targets::targets(&self.url, &self.key, &self.namespace, |database| {
                self.staging_database(database)
            }),
        }
    }

    fn still_published(&self, receipt: &Receipt) -> bool {
        receipt.has_its_files() && (self.writes_file() || self.holds_generation_of(receipt))
    }

    fn roll_back(&self) -> Option<Result<String>> {
        (!self.writes_file() && self.publish != Publish::Overwrite).then(|| self.roll_back_generation())
    }
}

impl RedisSink {
    fn connection_config(&self) -> ConnectionConfig<'_> {
        ConnectionConfig {
            url: &self.url,
            ca: self.ca.as_deref(),
            client_certificate: self.client_certificate.as_deref(),
            client_key: self.client_key.as_deref(),
            sentinel_user: self.sentinel_user.as_deref(),
            sentinel_password: self.sentinel_password.as_deref(),
            namespace: &self.namespace,
            connections: self.connections,
            retry_timeout: self.retry_timeout,
        }
    }

    /// Number of the staging database of a published one, with `publish: swap`.
    fn staging_database(&self, published: i64) -> Option<i64> {
        let next = || self.staging.unwrap_or(published.saturating_add(1));
        (self.publish == Publish::Swap).then(next)
    }

    /// Whether the keys are written to a file.
    fn writes_file(&self) -> bool {
        self.resp.is_some() || self.url == address::EMBEDDED
    }
}
