//! `VectorSink`: embeddings that a server searches.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::batch::documents;
use crate::batch::entries::Entries;
use crate::key_pattern::KeyPattern;
use crate::redis::config::address::Shape;
use crate::redis::config::checks::{check_key, check_namespace, key_problems, unusable};
use crate::redis::config::connection_config::Reach;
use crate::redis::config::settings::{Encoding, Gates, Publish, Stale};
use crate::redis::config::{address, targets};
use crate::redis::keyspace::search_index::has_search;
use crate::redis::publish::publisher::Manner;
use crate::redis::publish::task::receipt;
use crate::redis::redis_sink::{default_chunk, default_connections, default_in_flight, default_patience, is_false};
use crate::redis::verify::receipt_check::Claim;
use towline_api::{
    Artifact, Code, Column, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output,
    Port, Problem, Purity, Receipt, Result, Schema, Sink, Tag, TaskResult, TypeContext,
};

/// The column of vectors.
pub(crate) const EMBEDDING: &str = "embedding";

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
    #[schemars(transform = towline_api::cache_ignored)]
    pub chunk: usize,
    /// How many pipelines may wait for the server's answers at once.
    #[serde(default = "default_in_flight")]
    #[schemars(range(min = 1, max = 256))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub in_flight: usize,
    /// Whether an input without a single item may take the place of keys that are published; by default it is an error. As
    /// in `allow_empty: true`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_empty: bool,
    /// How many seconds to try again after a connection broke.
    #[serde(default = "default_patience")]
    #[schemars(range(min = 0, max = 86_400))]
    #[schemars(transform = towline_api::cache_ignored)]
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

const INPUT: DatasetPort = DatasetPort::required(
    "input",
    "One row per item: the item's id and the column `embedding`, as `Encode` makes it.",
);

impl Describe for VectorSink {
    const NAME: &'static str = "VectorSink";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Effect;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: VectorSink\ninput: item_embeddings\nwith: { url: \"redis://localhost:6379\", key: \"ITEM:{item_id}\", index: items }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = self.reach().problems();
        if self.url == address::EMBEDDED {
            let problem = Problem::new(Code::BadConfig, "the embedded store searches no vectors").at("url");
            problems.push(problem.help("name a server with the search module"));
        }
        if address::shape(&self.url) == Some(Shape::Cluster) {
            problems.push(Problem::new(Code::BadConfig, "the index of a cluster is not supported").at("url"));
        }
        if self.index.is_empty() {
            problems.push(Problem::new(Code::BadConfig, "the index needs a name").at("index"));
        }
        if self.key.starts_with('{') && !self.key.starts_with("{{") {
            let problem =
                Problem::new(Code::BadConfig, "the index finds its keys by the text they begin with").at("key");
            problems.push(problem.help("write a text in front, as in `ITEM:{item_id}`"));
        }
        problems.extend(check_namespace(&self.namespace));
        problems.extend(check_key(&self.key, &self.namespace));
        problems
    }
}

impl Operator for VectorSink {
    fn output_type(&self, inputs: &Inputs<NodeType>, _context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let schema = &INPUT.input_type(inputs)?.schema;
        let mut problems = key_problems(&self.key, schema, false);
        match item_column(schema) {
            Ok(item) => problems.extend(unusable(item).map(|problem| problem.at_port("input"))),
            Err(problem) => problems.push(problem.at_port("input")),
        }
        match schema.get(EMBEDDING) {
            None => problems.push(Problem::unknown_column(EMBEDDING, schema).at_port("input")),
            Some(column) if !(column.is_list() && column.element_type().is_floating()) => {
                let message = format!("`{EMBEDDING}` holds {}, not vectors", column.data_type);
                problems.push(
                    Problem::new(Code::BadInput, message)
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
        Form::Sink(self)
    }
}

impl Sink for VectorSink {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = INPUT.files(inputs)?;
        let pattern = KeyPattern::parse(&self.key).map_err(OperatorError::invalid)?;
        let item = item_column(&dataset.schema).map_err(|problem| OperatorError::invalid(problem.message))?;
        let form = documents::Form::Vector;
        let entries = Entries::new(dataset, pattern.clone(), &item.name, form, Some(EMBEDDING))?;
        // Vectors of several lengths, or with values that are none, are found before anything is written.
        entries.chunks(self.chunk.max(1)).try_for_each(|chunk| {
            context.cancel.check()?;
            chunk.map(|_| ())
        })?;
        let target = self.reach().target()?;
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
            allow_empty: self.allow_empty,
        };
        let outcome = target.publish(&manner, &entries, (Encoding::Hash, None), None, context)?;
        let (mut receipt, report) = receipt(&address::redacted(&self.url), &outcome, 0);
        // Without a vector there is nothing to say how long they are; the index that is there has become empty.
        if let Some(width) = entries.width() {
            let index = context
                .runtime
                .block_on(self.index(&server, width, context))
                .map_err(|why| target.told(why))?;
            receipt.details.insert("index".to_owned(), json!(index));
        }
        Ok(Output {
            result: TaskResult::Receipt(receipt),
            metrics: BTreeMap::new(),
            report,
        })
    }

    fn targets(&self) -> Vec<String> {
        let mut targets = targets::targets(&self.url, &self.key, &self.namespace, |_| None);
        targets.push(format!(
            "the index `{}` in {}",
            self.index,
            address::redacted(&self.url)
        ));
        targets
    }

    fn still_published(&self, receipt: &Receipt) -> bool {
        match (
            self.reach().target(),
            Claim::of(receipt, &self.key, Publish::Overwrite, None),
        ) {
            (Ok(target), Some(claim)) => claim.stands(target),
            (Err(_), _) => true,
            (_, None) => false,
        }
    }
}

impl VectorSink {
    /// How the server is reached.
    fn reach(&self) -> Reach<'_> {
        Reach {
            url: &self.url,
            ca: self.ca.as_deref(),
            client_certificate: None,
            client_key: None,
            sentinel_user: self.sentinel_user.as_deref(),
            sentinel_password: self.sentinel_password.as_deref(),
            namespace: &self.namespace,
            connections: default_connections(),
            patience: self.patience,
        }
    }
}

/// The one column with the item's id.
fn item_column(schema: &Schema) -> Result<&Column, Problem> {
    schema.tagged(&[Tag::Item, Tag::Id]).next().ok_or_else(|| {
        Problem::new(Code::BadInput, "no column has the tags item and id")
            .help("tag the item's id column with TagAsItemID")
    })
}
