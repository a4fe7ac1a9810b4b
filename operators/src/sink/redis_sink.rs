//! `RedisSink`: recommendations, one key per user.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::document::Cells;
use super::entries::{Census, Entries, RECOMMENDATIONS};
use super::key_pattern::KeyPattern;
use super::redis_server::Server;
use super::{embedded_store, redis_url};
use crate::contract::{
    Artifact, Column, Context, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output, Port, Problem,
    Purity, Receipt, Report, Result, Schema, Tag, Task, TaskResult, TypeContext, dataset_at, file_dataset_at, target,
};

/// More pipelines than this keep no server busier; they only hold memory.
const MAX_IN_FLIGHT: usize = 16;

/// Publishes recommendations for an online service: one key per user, in a Redis server or in a file.
///
/// The input has one row per user: the user's id (tags `user` and `id`) and a list column `recommendations`. The value
/// under each key is the JSON `{"user_id": 42, "recommendations": [1, 2, 3]}`, where the first name is that of the id
/// column. Ids are written as they came; encoded columns are decoded. A row without a user is never written, and the
/// receipt says how many there were.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSink {
    /// The server: `redis://[[user]:password@]host[:port][/database]`. `${secret.NAME}` in place of the password is
    /// read when it is used, and taken as it is. `embedded` needs no server: the keys go into the file `path`.
    #[serde(default = "default_url", serialize_with = "redis_url::serialize")]
    pub url: String,
    /// The file of the embedded store (redb, table `keys`). A new batch replaces it as a whole.
    #[serde(default = "default_path")]
    pub path: PathBuf,
    /// The key of a row: `{column}` stands for the row's value in that column, `{{` and `}}` for the braces themselves.
    #[serde(default = "default_key")]
    pub key: String,
    /// How many keys are sent to the server in one pipeline.
    #[serde(default = "default_chunk")]
    #[schemars(range(min = 1, max = 100_000))]
    pub chunk: usize,
    /// How many pipelines may wait for the server's answers at once, over one connection; more than 16 are never used.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1))]
    pub concurrency: usize,
}

fn default_url() -> String {
    redis_url::EMBEDDED.to_owned()
}

fn default_path() -> PathBuf {
    PathBuf::from("output/recommendations.redb")
}

fn default_key() -> String {
    "USER:{user_id}".to_owned()
}

fn default_chunk() -> usize {
    512
}

fn default_concurrency() -> usize {
    100
}

/// Written by hand because the address may hold a password.
impl std::fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSink")
            .field("url", &redis_url::redacted(&self.url))
            .field("path", &self.path)
            .field("key", &self.key)
            .field("chunk", &self.chunk)
            .field("concurrency", &self.concurrency)
            .finish()
    }
}

impl Describe for RedisSink {
    const NAME: &'static str = "RedisSink";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Effect;
    const PORTS: &'static [Port] = &[Port::dataset(
        "input",
        "One row per user: the user's id and the list column `recommendations`.",
    )];
    const CACHE_IGNORE: &'static [&'static str] = &["chunk", "concurrency"];
    const EXAMPLE: &'static str =
        "op: RedisSink\ninput: recommendations\nwith: { url: embedded, key: \"USER:{user_id}\" }\n";

    fn check(&self) -> Vec<Problem> {
        if self.url == redis_url::EMBEDDED || self.url.starts_with("redis://") || self.url.starts_with("${secret.") {
            return Vec::new();
        }
        // The address itself is not repeated: it may hold a password.
        let (message, help) = if self.url.starts_with("rediss://") {
            (
                "TLS (`rediss://`) is not supported",
                "use `redis://`, through a tunnel if the network is not trusted",
            )
        } else {
            (
                "this is not the address of a Redis server",
                "write `embedded`, or `redis://host:6379`",
            )
        };
        vec![Problem::new("bad-config", message).at("url").help(help)]
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
        if self.url == redis_url::EMBEDDED {
            vec![target::path(&self.path)]
        } else {
            vec![target::keys(&self.key, &redis_url::redacted(&self.url))]
        }
    }
}

impl RedisSink {
    /// Everything that is wrong with the input or with the key, known from the schema alone.
    pub(super) fn problems(&self, schema: &Schema) -> Vec<Problem> {
        let mut problems = Vec::new();
        match user_column(schema) {
            Ok(user) => problems.extend(unusable(user).map(|problem| problem.at_port("input"))),
            Err(problem) => problems.push(problem.at_port("input")),
        }
        match schema.get(RECOMMENDATIONS) {
            None => problems.push(Problem::unknown_column(RECOMMENDATIONS, schema).at_port("input")),
            Some(column) if !column.is_list() => {
                let message = format!("`{RECOMMENDATIONS}` holds {}, not lists", column.data_type);
                problems.push(Problem::new("bad-input", message).at_port("input"));
            }
            Some(column) => problems.extend(unusable(column).map(|problem| problem.at_port("input"))),
        }
        match KeyPattern::parse(&self.key) {
            Err(reason) => problems.push(
                Problem::new(
                    "bad-config",
                    format!("`{}` is not a pattern for keys: {reason}", self.key),
                )
                .at("key")
                .help("name the user's id column in braces, as in `USER:{user_id}`"),
            ),
            Ok(pattern) => {
                for field in pattern.fields() {
                    match schema.get(field) {
                        None => {
                            let problem = Problem::unknown_column(field, schema);
                            let place = self
                                .key
                                .find(&format!("{{{field}}}"))
                                .map(|at| at + 1..at + 1 + field.len());
                            problems.push(match place {
                                Some(place) => problem.at_text("key", place),
                                None => problem.at("key"),
                            });
                        }
                        Some(column) if column.is_list() => {
                            let message = format!("`{field}` holds lists, which cannot stand in a key");
                            problems.push(Problem::new("bad-config", message).at("key"));
                        }
                        // The user's column has been looked at above.
                        Some(column) if column.has(&[Tag::User, Tag::Id]) => {}
                        Some(column) => problems.extend(unusable(column).map(|problem| problem.at("key"))),
                    }
                }
            }
        }
        problems
    }

    fn receipt(&self, target: String, written: u64, census: &Census, dropped: u64) -> (Receipt, Report) {
        let mut report = Report::default();
        report.facts.push(("keys".to_owned(), written.to_string()));
        let mut details = BTreeMap::new();
        details.insert("key".to_owned(), json!(self.key));
        for (name, count, what) in [
            (
                "null_users",
                census.null_users,
                "rows have no user (missing or out of vocabulary) and were not written",
            ),
            (
                "null_key_fields",
                census.null_fields,
                "rows lack a value in a column of the key and were not written",
            ),
            (
                "null_recommendations",
                dropped,
                "recommendations have no value and were left out of their lists",
            ),
        ] {
            details.insert(name.to_owned(), json!(count));
            if count > 0 {
                report.warnings.push(format!("{count} {what}"));
            }
        }
        (
            Receipt {
                target,
                records: written,
                files: BTreeMap::new(),
                details,
            },
            report,
        )
    }
}

impl Task for RedisSink {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = file_dataset_at(inputs, "input")?;
        let user = user_column(&dataset.schema).map_err(|problem| OperatorError::invalid(problem.message))?;
        let pattern = KeyPattern::parse(&self.key).map_err(OperatorError::invalid)?;
        let url = redis_url::revealed(&self.url)?;
        let entries = Entries::new(dataset, pattern, &user.name)?;
        let census = entries.census(&context.cancel)?;
        context.progress.begin("keys", Some(census.keys));

        let chunks = entries.chunks(self.chunk.max(1));
        let (receipt, report) = if url == redis_url::EMBEDDED {
            let (written, size) = embedded_store::publish(&self.path, chunks, context)?;
            let target = self.path.display().to_string();
            let (mut receipt, report) = self.receipt(target, written, &census, entries.dropped());
            receipt.files.insert(self.path.clone(), size);
            (receipt, report)
        } else {
            let shown = redis_url::redacted(&self.url);
            let in_flight = self.concurrency.clamp(1, MAX_IN_FLIGHT);
            let written = Server {
                url,
                shown: shown.clone(),
                in_flight,
            }
            .publish(chunks, context)?;
            self.receipt(shown, written, &census, entries.dropped())
        };
        Ok(Output {
            result: TaskResult::Receipt(receipt),
            metrics: BTreeMap::new(),
            report,
        })
    }
}

/// The one column with the user's id.
fn user_column(schema: &Schema) -> Result<&Column, Problem> {
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

fn unusable(column: &Column) -> Option<Problem> {
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
