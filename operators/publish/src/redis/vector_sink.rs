//! `VectorSink`: publishes embeddings for vector search.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::batch::document_format::DocumentFormat;
use crate::batch::key_pattern::KeyPattern;
use crate::batch::row_encoder::RowEncoder;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::config::address::Topology;
use crate::redis::config::connection_config::ConnectionConfig;
use crate::redis::config::defaults::{
    default_chunk, default_connections, default_in_flight, default_retry_timeout, is_false,
};
use crate::redis::config::key_checks::{check_id_type, check_key, check_namespace, key_problems};
use crate::redis::config::settings::{Encoding, Gates, Metric, Publish, StaleKeys};
use crate::redis::config::{address, targets};
use crate::redis::keyspace::search_index::{EMBEDDING, SearchIndex, require_search_module};
use crate::redis::publish::attempts::PublishJob;
use crate::redis::publish::options::PublishOptions;
use crate::redis::publish::receipt::receipt;
use crate::redis::verify::receipt_check::ReceiptCheck;
use towline_api::{
    Artifact, Code, Column, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output,
    Port, Problem, Purity, Receipt, Result, Schema, Sink, Tag, TaskResult, TypeContext,
};

/// Publishes embeddings of items to a Redis server that can search them: `HSET ITEM:{item_id}` with the id and the vector
/// (`embedding`, float32), and an HNSW index over them.
///
/// The input is the output of `Encode` with `side: item`. A query for nearest neighbours:
/// `FT.SEARCH items "*=>[KNN 10 @embedding $v AS score]" PARAMS 2 v <bytes> DIALECT 2`. Stale items are removed, and only changed
/// vectors are written. A server without the search module is an error.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorSink {
    /// Address of the server, as in `url: redis://host:6379`; all forms of `RedisSink` except clusters and `embedded`.
    #[serde(serialize_with = "address::serialize")]
    pub url: String,
    /// Certificate of the certificate authority (CA) of the server, in PEM, as in `ca: certs/ca.pem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
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
    /// Pattern of the keys: `{column}` stands for the row's value in that column. It must begin with text, which is the prefix
    /// of the index.
    #[serde(default = "default_key")]
    pub key: String,
    /// Name of the index: an alias, which moves to a new index when the dimension or the metric of the vectors changes.
    #[serde(default = "default_index")]
    pub index: String,
    /// Distance metric.
    #[serde(default)]
    pub metric: Metric,
    /// HNSW parameter M: maximum number of neighbours per vector and layer.
    #[serde(default = "default_m")]
    #[schemars(range(min = 2, max = 512))]
    pub m: u32,
    /// HNSW parameter ef_construction: number of candidates per insertion; larger values improve recall and slow down indexing.
    #[serde(default = "default_ef")]
    #[schemars(range(min = 1, max = 4096))]
    pub ef_construction: u32,
    /// Prefix of the metadata keys (`ITEMS:META`).
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Number of keys per pipeline.
    #[serde(default = "default_chunk")]
    #[schemars(range(min = 1, max = 100_000))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub chunk: usize,
    /// Maximum number of pipelines in flight.
    #[serde(default = "default_in_flight")]
    #[schemars(range(min = 1, max = 256))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub in_flight: usize,
    /// Whether an input without items may replace published keys, as in `allow_empty: true`; by default it is an error.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_empty: bool,
    /// Retry timeout in seconds after a connection broke.
    #[serde(default = "default_retry_timeout")]
    #[schemars(range(min = 0, max = 86_400), extend("x-renamed-from" = "patience"))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub retry_timeout: u64,
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
        let mut problems = self.connection_config().problems();
        if self.url == address::EMBEDDED {
            let problem = Problem::new(Code::BadConfig, "the embedded store has no vector search").at("url");
            problems.push(problem.help("name a server with the search module"));
        }
        if address::topology(&self.url) == Some(Topology::Cluster) {
            problems.push(Problem::new(Code::BadConfig, "the index of a cluster is not supported").at("url"));
        }
        if self.index.is_empty() {
            problems.push(Problem::new(Code::BadConfig, "the index needs a name").at("index"));
        }
        if self.key.starts_with('{') && !self.key.starts_with("{{") {
            let problem = Problem::new(
                Code::BadConfig,
                "the key needs a prefix, by which the index finds its keys",
            )
            .at("key");
            problems.push(problem.help("write text before the first field, as in `ITEM:{item_id}`"));
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
            Ok(item) => problems.extend(check_id_type(item).map(|problem| problem.at_port("input"))),
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
        let format = DocumentFormat::Vector;
        let encoder = RowEncoder::new(dataset, pattern.clone(), &item.name, format, Some(EMBEDDING))?;
        // Vectors of different lengths or with invalid values are found before anything is written.
        encoder.chunks(self.chunk.max(1)).try_for_each(|chunk| {
            context.cancel.check()?;
            chunk.map(|_| ())
        })?;
        let endpoint = Endpoint::new(&self.connection_config())?;
        let describe = |error| endpoint.describe_error(error);
        let server = context
            .runtime
            .block_on(async {
                let server = endpoint.open(endpoint.database()).await?;
                require_search_module(&server).await?;
                Ok(server)
            })
            .map_err(describe)?;
        let options = PublishOptions {
            key: self.key.clone(),
            pattern,
            publish: Publish::Overwrite,
            stale: StaleKeys::Remove,
            keep: 0,
            gates: Gates::default(),
            chunk: self.chunk.max(1),
            in_flight: self.in_flight,
            rate_limit: None,
            allow_empty: self.allow_empty,
        };
        let job = PublishJob {
            endpoint: &endpoint,
            staging: None,
            options: &options,
            encoder: &encoder,
            encoding: Encoding::Hash,
            ttl: None,
            model: None,
            context,
        };
        let (mut receipt, report) = receipt(&address::redacted(&self.url), &job.run()?, 0);
        // Without vectors there is no dimension for an index; an existing one has become empty.
        if let Some(dimension) = encoder.dimension() {
            let index = SearchIndex {
                alias: &self.index,
                key: &self.key,
                dimension,
                metric: self.metric,
                m: self.m,
                ef_construction: self.ef_construction,
            };
            let index = context
                .runtime
                .block_on(index.publish(&server, &context.cancel))
                .map_err(describe)?;
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
        let check = ReceiptCheck::new(receipt, &self.key, Publish::Overwrite, None);
        match (Endpoint::new(&self.connection_config()), check) {
            (Ok(endpoint), Some(check)) => check.still_published(endpoint, None),
            (Err(_), _) => true,
            (_, None) => false,
        }
    }
}

impl VectorSink {
    fn connection_config(&self) -> ConnectionConfig<'_> {
        ConnectionConfig {
            url: &self.url,
            ca: self.ca.as_deref(),
            client_certificate: None,
            client_key: None,
            sentinel_user: self.sentinel_user.as_deref(),
            sentinel_password: self.sentinel_password.as_deref(),
            namespace: &self.namespace,
            connections: default_connections(),
            retry_timeout: self.retry_timeout,
        }
    }
}

/// Column with the item's id.
fn item_column(schema: &Schema) -> Result<&Column, Problem> {
    schema.tagged(&[Tag::Item, Tag::Id]).next().ok_or_else(|| {
        Problem::new(Code::BadInput, "no column has the tags item and id")
            .help("tag the item's id column with TagAsItemID")
    })
}
