//! `RedisSink`: its parameters, and what is wrong with them without data.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{self, Shape};
use super::settings::{Document, Encoding, Gates, Publish, Stale};
use crate::contract::{
    Column, Describe, Form, Inputs, NodeType, Operator, Port, Problem, Purity, Receipt, Result, Schema, Tag,
    TypeContext, dataset_at, target,
};
use crate::sink::cells::Cells;
use crate::sink::documents::{RECOMMENDATIONS, SCORES};
use crate::sink::key_pattern::KeyPattern;

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
    /// How many keys are sent to the server in one pipeline.
    #[serde(default = "default_chunk")]
    #[schemars(range(min = 1, max = 100_000))]
    pub chunk: usize,
    /// How many pipelines may wait for the server's answers at once.
    #[serde(default = "default_in_flight")]
    #[schemars(range(min = 1, max = 256))]
    pub in_flight: usize,
    /// How many connections to open to each server.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 64))]
    pub connections: usize,
    /// The most keys to write in a second, as in `rate_limit: 20000`; by default as many as the server takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rate_limit: Option<u64>,
    /// How many seconds to try again after a connection broke or a server was gone; a server that is not there at the
    /// beginning is an error at once.
    #[serde(default = "default_patience")]
    #[schemars(range(min = 0, max = 86_400))]
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

pub(super) fn default_namespace() -> String {
    "RECS".to_owned()
}

pub(super) fn default_chunk() -> usize {
    512
}

pub(super) fn default_in_flight() -> usize {
    8
}

pub(super) fn default_connections() -> usize {
    1
}

pub(super) fn default_patience() -> u64 {
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

impl Describe for RedisSink {
    const NAME: &'static str = "RedisSink";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Effect;
    const PORTS: &'static [Port] = &[
        Port::dataset(
            "input",
            "One row per user: the user's id and the list column `recommendations`.",
        ),
        Port::model(
            "model",
            "The model that made the lists; its digest goes into `RECS:META`.",
        )
        .optional(),
    ];
    const CACHE_IGNORE: &'static [&'static str] = &["chunk", "in_flight", "connections", "rate_limit", "patience"];
    const EXAMPLE: &'static str =
        "op: RedisSink\ninput: recommendations\nwith: { url: embedded, key: \"USER:{user_id}\" }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = check_address(&self.url, self.ca.is_some() || self.client_certificate.is_some());
        if self.client_certificate.is_some() != self.client_key.is_some() {
            problems.push(bad(
                "client_key",
                "`client_certificate` and `client_key` are needed together",
                None,
            ));
        }
        problems.extend(check_namespace(&self.namespace));
        problems.extend(self.check_place());
        problems.extend(self.check_manner());
        problems
    }
}

/// What is wrong with an address, without its secrets.
pub(super) fn check_address(url: &str, certificates: bool) -> Vec<Problem> {
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

pub(super) fn check_namespace(namespace: &str) -> Option<Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let right = namespace.starts_with(|c: char| c.is_ascii_alphabetic()) && namespace.chars().all(plain);
    (!right).then(|| {
        bad(
            "namespace",
            "a namespace is a word of letters, digits and `_`",
            Some("write `RECS`"),
        )
    })
}

fn bad(at: &str, message: &str, help: Option<&str>) -> Problem {
    let problem = Problem::new("bad-config", message).at(at);
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

impl RedisSink {
    /// Whether the keys go into a file.
    pub(super) fn is_file(&self) -> bool {
        self.resp.is_some() || self.url == address::EMBEDDED
    }

    /// What does not go together with the place that the keys go to.
    fn check_place(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.resp.is_some() {
            if self.url != address::EMBEDDED {
                let help = "leave one of the two out";
                problems.push(bad("resp", "`resp` writes a file, `url` names a server", Some(help)));
            }
            if self.encoding == Encoding::Auto {
                let help = "write `encoding: string`, `json` or `hash`";
                problems.push(bad(
                    "resp",
                    "with `resp` there is no server to ask what it can store",
                    Some(help),
                ));
            }
        } else if self.url == address::EMBEDDED && matches!(self.encoding, Encoding::Json | Encoding::Hash) {
            let help = "leave `encoding` out, or name a server in `url`";
            problems.push(bad("encoding", "the embedded store holds strings", Some(help)));
        }
        let needs_server = [
            ("publish", self.publish != Publish::Overwrite),
            ("keep", self.keep.is_some()),
            ("staging", self.staging.is_some()),
            ("rate_limit", self.rate_limit.is_some()),
            ("ttl", self.ttl.is_some() && self.resp.is_none()),
        ];
        for (name, given) in needs_server {
            if given && self.is_file() {
                let message = format!("`{name}` needs a server");
                problems.push(bad(name, &message, Some("name one in `url`")));
            }
        }
        if self.gates.max_change.is_some() && self.is_file() {
            let message = "`max_change` compares with what a server holds";
            problems.push(bad("gates", message, Some("name one in `url`")));
        }
        problems
    }

    /// What does not go together with the way of publishing.
    fn check_manner(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let shape = address::shape(&self.url);
        if self.publish == Publish::Swap && shape == Some(Shape::Cluster) {
            let help = "use `publish: pointer`";
            problems.push(bad(
                "publish",
                "a cluster has one database, so there is nothing to swap",
                Some(help),
            ));
        }
        if self.publish != Publish::Swap && self.staging.is_some() && !self.is_file() {
            problems.push(bad("staging", "only `publish: swap` has a second database", None));
        }
        if let (Publish::Swap, Some(staging), Ok(address)) = (self.publish, self.staging, address::read(&self.url))
            && address.database == staging
        {
            problems.push(bad(
                "staging",
                "the second database must be another than that of `url`",
                None,
            ));
        }
        match (self.publish, self.keep) {
            (Publish::Overwrite, Some(_)) if !self.is_file() => {
                let help = "use `publish: swap` or `pointer`";
                problems.push(bad(
                    "keep",
                    "`publish: overwrite` keeps no earlier generation",
                    Some(help),
                ));
            }
            (Publish::Swap, Some(keep)) if keep > 1 => {
                problems.push(bad("keep", "`publish: swap` has room for one earlier generation", None));
            }
            _ => {}
        }
        if self.publish != Publish::Overwrite && self.stale == Stale::Keep {
            let message = "a generation of its own has no keys of those before; `stale: keep` is for `overwrite`";
            problems.push(bad("stale", message, None));
        }
        if self.encoding == Encoding::Hash {
            if self.document != Document::Ids {
                problems.push(bad(
                    "document",
                    "`encoding: hash` writes the columns, not a document",
                    None,
                ));
            }
            if self.gates.max_change.is_some() {
                problems.push(bad(
                    "gates",
                    "`max_change` is about lists, which `encoding: hash` does not have",
                    None,
                ));
            }
        }
        if let (Publish::Pointer, Ok(pattern)) = (self.publish, KeyPattern::parse(&self.key))
            && pattern.has_braces()
        {
            let message = "with `publish: pointer` keys stand in braces and must not have any of their own";
            problems.push(bad("key", message, None));
        }
        problems
    }
}

impl Operator for RedisSink {
    fn output_type(&self, inputs: &Inputs<NodeType>, _context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let problems = self.problems(&dataset_at(inputs, "input")?.schema);
        if problems.is_empty() {
            Ok(NodeType::Receipt)
        } else {
            Err(problems)
        }
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }

    fn targets(&self) -> Vec<String> {
        match &self.resp {
            Some(path) => vec![target::path(path)],
            None if self.is_file() => vec![target::path(&self.path)],
            None => vec![target::keys(&self.key, &address::redacted(&self.url))],
        }
    }

    fn still_published(&self, receipt: &Receipt) -> bool {
        let there = receipt
            .files
            .iter()
            .all(|(path, size)| std::fs::metadata(path).is_ok_and(|meta| meta.len() == *size));
        there && (self.is_file() || self.is_there())
    }

    fn roll_back(&self) -> Option<Result<String>> {
        (!self.is_file() && self.publish != Publish::Overwrite).then(|| self.go_back())
    }
}

impl RedisSink {
    /// Everything that is wrong with the input or with the key, known from the schema alone.
    pub(super) fn problems(&self, schema: &Schema) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.encoding == Encoding::Hash {
            let unfit = |column: &&Column| !fits_a_field(column);
            problems.extend(schema.columns.iter().filter(unfit).map(|column| {
                let message = format!("`{}` holds {}, which no field can hold", column.name, column.data_type);
                Problem::new("bad-input", message)
                    .at_port("input")
                    .help("leave the column out with a selection")
            }));
        } else {
            match user_column(schema) {
                Ok(user) => problems.extend(unusable(user).map(|problem| problem.at_port("input"))),
                Err(problem) => problems.push(problem.at_port("input")),
            }
            problems.extend(list_problems(schema, RECOMMENDATIONS, false));
            if self.document != Document::Ids {
                problems.extend(list_problems(schema, SCORES, true));
            }
        }
        problems.extend(key_problems(&self.key, schema, self.encoding != Encoding::Hash));
        problems
    }
}

fn fits_a_field(column: &Column) -> bool {
    let data_type = column.element_type();
    Cells::takes(data_type) || data_type.is_floating() || *data_type == arrow::datatypes::DataType::Boolean
}

fn list_problems(schema: &Schema, name: &str, numbers: bool) -> Option<Problem> {
    let problem = match schema.get(name) {
        None => Problem::unknown_column(name, schema),
        Some(column) if !column.is_list() => {
            Problem::new("bad-input", format!("`{name}` holds {}, not lists", column.data_type))
        }
        Some(column) if numbers && column.element_type().is_floating() => return None,
        Some(column) if numbers => Problem::new(
            "bad-input",
            format!("`{name}` holds {}, not scores", column.element_type()),
        ),
        Some(column) => unusable(column)?,
    };
    Some(problem.at_port("input"))
}

/// What is wrong with the pattern of keys. The column of the user is looked at elsewhere.
pub(super) fn key_problems(key: &str, schema: &Schema, has_user: bool) -> Vec<Problem> {
    let pattern = match KeyPattern::parse(key) {
        Ok(pattern) => pattern,
        Err(reason) => {
            let message = format!("`{key}` is not a pattern for keys: {reason}");
            let help = "name the user's id column in braces, as in `USER:{user_id}`";
            return vec![Problem::new("bad-config", message).at("key").help(help)];
        }
    };
    let mut problems = Vec::new();
    for field in pattern.fields() {
        match schema.get(field) {
            None => {
                let problem = Problem::unknown_column(field, schema);
                let place = key.find(&format!("{{{field}}}")).map(|at| at + 1..at + 1 + field.len());
                problems.push(match place {
                    Some(place) => problem.at_text("key", place),
                    None => problem.at("key"),
                });
            }
            Some(column) if column.is_list() => {
                let message = format!("`{field}` holds lists, which cannot stand in a key");
                problems.push(Problem::new("bad-config", message).at("key"));
            }
            Some(column) if has_user && column.has(&[Tag::User, Tag::Id]) => {}
            Some(column) => problems.extend(unusable(column).map(|problem| problem.at("key"))),
        }
    }
    problems
}

/// The one column with the user's id.
pub(super) fn user_column(schema: &Schema) -> Result<&Column, Problem> {
    let users: Vec<&Column> = schema.tagged(&[Tag::User, Tag::Id]).collect();
    match users.as_slice() {
        [user] => Ok(user),
        [] => Err(Problem::new("bad-input", "no column has the tags user and id")
            .help("tag the user's id column with TagAsUserID")),
        several => {
            let names: Vec<String> = several.iter().map(|column| format!("`{}`", column.name)).collect();
            Err(Problem::new(
                "bad-input",
                format!("several columns have the tags user and id: {}", names.join(", ")),
            ))
        }
    }
}

pub(super) fn unusable(column: &Column) -> Option<Problem> {
    let data_type = column.element_type();
    (!Cells::takes(data_type)).then(|| {
        Problem::new(
            "bad-input",
            format!(
                "`{}` holds {data_type}; it must hold whole numbers or text",
                column.name
            ),
        )
        .help("Cast the column to int64 or to a string")
    })
}
