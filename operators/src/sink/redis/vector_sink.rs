//! `VectorSink`: embeddings that a server searches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use arrow::datatypes::DataType;
use redis::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::address::{self, Shape};
use super::checks::{check_address, check_namespace, key_problems, unusable};
use super::connection::{Failure, Security};
use super::publisher::Manner;
use super::server::Server;
use super::settings::{Encoding, Gates, Publish, Stale};
use super::sink::{default_chunk, default_connections, default_in_flight, default_patience};
use super::task::{Target, receipt};
use crate::contract::{
    Artifact, Column, Context, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output, Port, Problem,
    Purity, Result, Schema, Tag, Task, TaskResult, TypeContext, dataset_at, file_dataset_at, target,
};
use crate::sink::documents;
use crate::sink::entries::Entries;
use crate::sink::key_pattern::KeyPattern;

/// The column of vectors.
const EMBEDDING: &str = "embedding";
/// How long the server may take to put all vectors into the index.
const INDEXING: Duration = Duration::from_hours(1);

/// By what vectors are near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The dot product, by which the models of Towline score.
    #[default]
    Ip,
    /// The angle.
    Cosine,
    /// The distance.
    L2,
}

/// Publishes embeddings of items to a Redis server that can search them: `HSET ITEM:{item_id}` with the id and the vector
/// (`embedding`, float32), and an HNSW index over them.
///
/// The input is what `Encode` with `side: item` makes. A query for the nearest:
/// `FT.SEARCH items "*=>[KNN 10 @embedding $v AS score]" PARAMS 2 v <bytes> DIALECT 2`. Items that are gone are removed, and
/// only what has changed is written. The server needs the search module; one without it is an error.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorSink {
    /// The server, as in `url: redis://host:6379`; all that `RedisSink` takes but clusters and `embedded`.
    #[serde(serialize_with = "address::serialize")]
    pub url: String,
    /// The certificate of the authority that signed the server's, in PEM, as in `ca: certs/ca.pem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The key of a row: `{column}` stands for the row's value in that column. It must begin with a text, by which the index
    /// finds the keys.
    #[serde(default = "default_key")]
    pub key: String,
    /// The name of the index: that of an alias, which moves to a new index when the vectors get another length or metric.
    #[serde(default = "default_index")]
    pub index: String,
    /// By what vectors are near.
    #[serde(default)]
    pub metric: Metric,
    /// Neighbours of a vector in the index.
    #[serde(default = "default_m")]
    #[schemars(range(min = 2, max = 512))]
    pub m: u32,
    /// Candidates that are looked at while the index is built; more find better neighbours, and take longer.
    #[serde(default = "default_ef")]
    #[schemars(range(min = 1, max = 4096))]
    pub ef_construction: u32,
    /// The beginning of the names of what is written beside the keys (`ITEMS:META`).
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// How many keys are sent to the server in one pipeline.
    #[serde(default = "default_chunk")]
    #[schemars(range(min = 1, max = 100_000))]
    pub chunk: usize,
    /// How many pipelines may wait for the server's answers at once.
    #[serde(default = "default_in_flight")]
    #[schemars(range(min = 1, max = 256))]
    pub in_flight: usize,
    /// How many seconds to try again after a connection broke.
    #[serde(default = "default_patience")]
    #[schemars(range(min = 0, max = 86_400))]
    pub patience: u64,
}

fn default_key() -> String {
    "ITEM:{item_id}".to_owned()
}

fn default_index() -> String {
    "items".to_owned()
}

fn default_m() -> u32 {
    16
}

fn default_ef() -> u32 {
    200
}

fn default_namespace() -> String {
    "ITEMS".to_owned()
}

/// Written by hand because the address may hold a password.
impl std::fmt::Debug for VectorSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VectorSink")
            .field("url", &address::redacted(&self.url))
            .field("key", &self.key)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl Describe for VectorSink {
    const NAME: &'static str = "VectorSink";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Effect;
    const PORTS: &'static [Port] = &[Port::dataset(
        "input",
        "One row per item: the item's id and the column `embedding`, as `Encode` makes it.",
    )];
    const CACHE_IGNORE: &'static [&'static str] = &["chunk", "in_flight", "patience"];
    const EXAMPLE: &'static str = "op: VectorSink\ninput: item_embeddings\nwith: { url: \"redis://localhost:6379\", key: \"ITEM:{item_id}\", index: items }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = check_address(&self.url, self.ca.is_some());
        if self.url == address::EMBEDDED {
            let problem = Problem::new("bad-config", "the embedded store searches no vectors").at("url");
            problems.push(problem.help("name a server with the search module"));
        }
        if address::shape(&self.url) == Some(Shape::Cluster) {
            problems.push(Problem::new("bad-config", "the index of a cluster is not supported").at("url"));
        }
        if self.index.is_empty() {
            problems.push(Problem::new("bad-config", "the index needs a name").at("index"));
        }
        if self.key.starts_with('{') && !self.key.starts_with("{{") {
            let problem = Problem::new("bad-config", "the index finds its keys by the text they begin with").at("key");
            problems.push(problem.help("write a text in front, as in `ITEM:{item_id}`"));
        }
        problems.extend(check_namespace(&self.namespace));
        problems
    }
}

impl Operator for VectorSink {
    fn output_type(&self, inputs: &Inputs<NodeType>, _context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let schema = &dataset_at(inputs, "input")?.schema;
        let mut problems = key_problems(&self.key, schema, false);
        match item_column(schema) {
            Ok(item) => problems.extend(unusable(item).map(|problem| problem.at_port("input"))),
            Err(problem) => problems.push(problem.at_port("input")),
        }
        match schema.get(EMBEDDING) {
            None => problems.push(Problem::unknown_column(EMBEDDING, schema).at_port("input")),
            Some(column) if !matches!(&column.data_type, DataType::FixedSizeList(field, _) if field.data_type().is_floating()) =>
            {
                let message = format!("`{EMBEDDING}` holds {}, not vectors of one length", column.data_type);
                problems.push(
                    Problem::new("bad-input", message)
                        .at_port("input")
                        .help("use the output of Encode"),
                );
            }
            Some(_) => {}
        }
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
        vec![target::keys(&self.key, &address::redacted(&self.url))]
    }
}

impl Task for VectorSink {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = file_dataset_at(inputs, "input")?;
        let pattern = KeyPattern::parse(&self.key).map_err(OperatorError::invalid)?;
        let item = item_column(&dataset.schema).map_err(|problem| OperatorError::invalid(problem.message))?;
        let width = dataset.schema.get(EMBEDDING).and_then(|column| match column.data_type {
            DataType::FixedSizeList(_, width) => Some(width),
            _ => None,
        });
        let width = width.ok_or_else(|| OperatorError::invalid(format!("`{EMBEDDING}` holds no vectors")))?;
        let form = documents::Form::Vector;
        let entries = Entries::new(dataset, pattern.clone(), &item.name, form, Some(EMBEDDING))?;
        let mut target = Target::read(&self.url, Security::read(self.ca.as_deref(), None)?)?;
        target.namespace.clone_from(&self.namespace);
        target.connections = default_connections();
        target.patience = Duration::from_secs(self.patience);
        let wait = |work| context.runtime.block_on(work);
        let server = wait(target.open(target.address.database, target.patience)).map_err(|why| target.told(why))?;
        context
            .runtime
            .block_on(has_search(&server))
            .map_err(|why| target.told(why))?;
        let manner = Manner {
            key: self.key.clone(),
            pattern,
            publish: Publish::Overwrite,
            stale: Stale::Remove,
            keep: 0,
            gates: Gates::default(),
            chunk: self.chunk.max(1),
            in_flight: self.in_flight,
            rate: None,
        };
        let outcome = target.publish(&manner, &entries, (Encoding::Hash, None), None, context)?;
        let index = context
            .runtime
            .block_on(self.index(&server, width, context))
            .map_err(|why| target.told(why))?;
        let (mut receipt, report) = receipt(&address::redacted(&self.url), &outcome, 0);
        receipt.details.insert("index".to_owned(), json!(index));
        Ok(Output {
            result: TaskResult::Receipt(receipt),
            metrics: BTreeMap::new(),
            report,
        })
    }
}

impl VectorSink {
    /// Makes sure that there is an index of this kind, that it holds all vectors, and that the alias stands for it. Returns
    /// its own name.
    async fn index(&self, server: &Server, width: i32, context: &Context) -> Result<String, Failure> {
        let prefix = self.key.split_once('{').map_or(self.key.as_str(), |(prefix, _)| prefix);
        let metric = match self.metric {
            Metric::Ip => "IP",
            Metric::Cosine => "COSINE",
            Metric::L2 => "L2",
        };
        let kind = format!("{prefix}|{width}|{metric}|{}|{}", self.m, self.ef_construction);
        let name = format!("{}:{}", self.index, &blake3::hash(kind.as_bytes()).to_hex()[..8]);
        let mut list = redis::cmd("FT._LIST");
        let indexes: Vec<String> = server.one(None, std::mem::take(&mut list)).await?;
        if !indexes.contains(&name) {
            let mut create = redis::cmd("FT.CREATE");
            create
                .arg(&name)
                .arg("ON")
                .arg("HASH")
                .arg("PREFIX")
                .arg(1)
                .arg(prefix)
                .arg("SCHEMA")
                .arg(EMBEDDING);
            create
                .arg("VECTOR")
                .arg("HNSW")
                .arg(10)
                .arg("TYPE")
                .arg("FLOAT32")
                .arg("DIM")
                .arg(width);
            create.arg("DISTANCE_METRIC").arg(metric).arg("M").arg(self.m);
            create.arg("EF_CONSTRUCTION").arg(self.ef_construction);
            server.one::<()>(None, create).await?;
        }
        filled(server, &name, context).await?;
        let mut alias = redis::cmd("FT.ALIASUPDATE");
        alias.arg(&self.index).arg(&name);
        server.one::<()>(None, alias).await?;
        let before = format!("{}:", self.index);
        for old in indexes.iter().filter(|old| **old != name && old.starts_with(&before)) {
            let mut drop = redis::cmd("FT.DROPINDEX");
            drop.arg(old);
            server.one::<()>(None, drop).await?;
        }
        Ok(name)
    }
}

/// Waits until the server has put all vectors into an index.
async fn filled(server: &Server, name: &str, context: &Context) -> Result<(), Failure> {
    let started = std::time::Instant::now();
    loop {
        let mut info = redis::cmd("FT.INFO");
        info.arg(name);
        let facts: Vec<Value> = server.one(None, info).await?;
        let said = |wanted: &str| {
            facts.chunks(2).find_map(|pair| match pair {
                [key, value] if redis::from_redis_value_ref::<String>(key).is_ok_and(|key| key == wanted) => {
                    redis::from_redis_value_ref::<f64>(value).ok()
                }
                _ => None,
            })
        };
        if said("indexing").unwrap_or(0.0) == 0.0 {
            let failed = said("hash_indexing_failures").unwrap_or(0.0);
            if failed > 0.0 {
                let text = format!("the index `{name}` could not take {failed} of the vectors");
                return Err(OperatorError::Server(text).into());
            }
            return Ok(());
        }
        if started.elapsed() > INDEXING {
            return Err(OperatorError::Server(format!("the index `{name}` is not filled after an hour")).into());
        }
        context.cancel.check()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn has_search(server: &Server) -> Result<(), Failure> {
    let mut command = redis::cmd("COMMAND");
    command.arg("INFO").arg("FT.CREATE");
    let known: Vec<Value> = server.one(None, command).await?;
    if known
        .iter()
        .any(|command| matches!(command, Value::Array(parts) if !parts.is_empty()))
    {
        return Ok(());
    }
    Err(OperatorError::Server(
        "the server cannot search (`COMMAND INFO FT.CREATE` knows nothing): load the search module".to_owned(),
    )
    .into())
}

/// The one column with the item's id.
fn item_column(schema: &Schema) -> Result<&Column, Problem> {
    schema.tagged(&[Tag::Item, Tag::Id]).next().ok_or_else(|| {
        Problem::new("bad-input", "no column has the tags item and id")
            .help("tag the item's id column with TagAsItemID")
    })
}
