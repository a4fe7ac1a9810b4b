//! `RedisSink`: its parameters.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redis::config::checks::{check_key, check_namespace};
use crate::redis::config::connection_config::Reach;
use crate::redis::config::settings::{Document, Encoding, Gates, Publish, Stale};
use crate::redis::config::{address, targets};
use towline_api::{
    Artifact, Context, DatasetPort, Describe, Form, Inputs, ModelPort, NodeType, Operator, Optional, Output, Port,
    Problem, Purity, Receipt, Result, Sink, TypeContext, target,
};

/// Publishes recommendations for an online service: one key per user, in a Redis server or in a file.
///
/// The input has one row per user: the user's id (tags `user` and `id`) and a list column `recommendations`. The value
/// under each key is the JSON `{"user_id": 42, "recommendations": [1, 2, 3]}`, where the first name is that of the id
/// column. Ids are written as they came; encoded columns are decoded. A row without a user is never written, and the
/// receipt says how many there were. With `encoding: hash` any table is published, one hash per row.
///
/// `RECS:META` says what is published (generation, rows, checksum, model, time); it is written last. A batch that fails,
/// for whatever reason, leaves it as it was, and under `swap` and `pointer` readers keep the generation before; `towline run
/// --resume` goes on from the last chunk that the server has acknowledged. With keys of several sinks in one database, each
/// needs a `namespace` of its own. The user of the server needs, beside the commands that write, `INFO`, `EXISTS`, `SCAN`,
/// `HSET`, `CLIENT ID` and `CLIENT KILL`, for `swap` also `EVAL`, `SWAPDB` and `FLUSHDB`, for `pointer` `EVAL` and `FUNCTION`.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSink {
    /// The server: `redis://[[user]:password@]host[:port][/database]`, `rediss://` for TLS, `unix:///path/to/socket`,
    /// `redis+sentinel://[[user]:password@]host[:port],.../service[/database]` or `redis+cluster://host[:port],...`.
    /// `${secret.NAME}` in place of the password is read when it is used, and taken as it is. `embedded` needs no server:
    /// the keys go into the file `path`.
    #[serde(default = "default_url", serialize_with = "address::serialize")]
    pub url: String,
    /// The file of the embedded store (redb, table `keys`). A new batch replaces it as a whole.
    #[serde(default = "default_path")]
    pub path: PathBuf,
    /// Write a file of commands for `redis-cli --pipe` instead, as in `resp: output/recommendations.resp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resp: Option<PathBuf>,
    /// The certificate of the authority that signed the server's, in PEM, as in `ca: certs/ca.pem`; by default those that
    /// the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate of this client, in PEM, for servers that want one: `client_certificate: certs/client.pem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    /// The key of `client_certificate`, in PEM: `client_key: certs/client.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// The user that the sentinels know, where they ask for one: `sentinel_user: watcher`. The credentials in `url` are those of
    /// the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = towline_api::cache_ignored)]
    pub sentinel_user: Option<String>,
    /// The password that the sentinels ask for, as in `sentinel_password: "${secret.SENTINEL}"`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "address::serialize_password"
    )]
    #[schemars(transform = towline_api::cache_ignored)]
    pub sentinel_password: Option<String>,
    /// The key of a row: `{column}` stands for the row's value in that column, `{{` and `}}` for the braces themselves.
    #[serde(default = "default_key")]
    pub key: String,
    /// What a key holds.
    #[serde(default)]
    pub encoding: Encoding,
    /// What a document holds.
    #[serde(default)]
    pub document: Document,
    /// Seconds until a key goes by itself, as in `ttl: 604800`; by default it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub ttl: Option<u64>,
    /// How a generation takes the place of the one before.
    #[serde(default)]
    pub publish: Publish,
    /// What happens to keys of users that are gone, with `publish: overwrite`.
    #[serde(default)]
    pub stale: Stale,
    /// How many earlier generations stay for `towline rollback`: with `swap` 0 (the default) or 1, with `pointer` any number,
    /// 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub keep: Option<u64>,
    /// With `publish: swap`, the second database, as in `staging: 5`; by default the one after that of `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub staging: Option<i64>,
    /// The beginning of the names of what is written beside the keys (`RECS:META`).
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// What a generation must be like to be published, as in `gates: { min_keys: 1000 }`.
    #[serde(default)]
    pub gates: Gates,
    /// How many keys are sent to the server in one pipeline. With small chunks, `in_flight: 1` and a `rate_limit`, readers wait
    /// least (`docs/publishing.md`).
    #[serde(default = "default_chunk")]
    #[schemars(range(min = 1, max = 100_000))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub chunk: usize,
    /// How many pipelines may wait for the server's answers at once.
    #[serde(default = "default_in_flight")]
    #[schemars(range(min = 1, max = 256))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub in_flight: usize,
    /// How many connections to open to each server for the keys; one more is for what is asked and noted meanwhile.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 64))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub connections: usize,
    /// The most keys to write in a second, as in `rate_limit: 20000`; by default as many as the server takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub rate_limit: Option<u64>,
    /// Whether an input without a single user may take the place of keys that are published; by default it is an error, for
    /// it is mostly a slip further up. As in `allow_empty: true`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_empty: bool,
    /// How many seconds to try again after a connection broke or a server was gone, and to wait for one that loads its data; a
    /// server that is not there at the beginning is an error at once.
    #[serde(default = "default_patience")]
    #[schemars(range(min = 0, max = 86_400))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub patience: u64,
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

pub(crate) fn default_namespace() -> String {
    "RECS".to_owned()
}

pub(crate) fn default_chunk() -> usize {
    512
}

pub(crate) fn default_in_flight() -> usize {
    8
}

pub(crate) fn default_connections() -> usize {
    1
}

/// For serde: leaves a switch that is off out of the cache key.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn is_false(switch: &bool) -> bool {
    !switch
}

pub(crate) fn default_patience() -> u64 {
    30
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
        let mut problems = self.reach().problems();
        problems.extend(check_namespace(&self.namespace));
        if !self.is_file() {
            problems.extend(check_key(&self.key, &self.namespace));
        }
        problems.extend(self.check_place());
        problems.extend(self.check_manner());
        problems
    }
}

impl Operator for RedisSink {
    fn output_type(&self, inputs: &Inputs<NodeType>, _context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let problems = self.problems(&INPUT.input_type(inputs)?.schema);
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
            None if self.is_file() => vec![target::path(&self.path)],
            None => targets::targets(&self.url, &self.key, &self.namespace, |database| self.second(database)),
        }
    }

    fn still_published(&self, receipt: &Receipt) -> bool {
        receipt.has_its_files() && (self.is_file() || self.stands(receipt))
    }

    fn roll_back(&self) -> Option<Result<String>> {
        (!self.is_file() && self.publish != Publish::Overwrite).then(|| self.go_back())
    }
}

impl RedisSink {
    /// How the server is reached.
    pub(crate) fn reach(&self) -> Reach<'_> {
        Reach {
            url: &self.url,
            ca: self.ca.as_deref(),
            client_certificate: self.client_certificate.as_deref(),
            client_key: self.client_key.as_deref(),
            sentinel_user: self.sentinel_user.as_deref(),
            sentinel_password: self.sentinel_password.as_deref(),
            namespace: &self.namespace,
            connections: self.connections,
            patience: self.patience,
        }
    }

    /// The second database, where there is one, of a sink whose first one this is.
    pub(crate) fn second(&self, database: i64) -> Option<i64> {
        let next = || self.staging.unwrap_or(database.saturating_add(1));
        (self.publish == Publish::Swap).then(next)
    }

    /// Whether the keys go into a file.
    pub(crate) fn is_file(&self) -> bool {
        self.resp.is_some() || self.url == address::EMBEDDED
    }
}
