//! `AnnIndex`: approximate nearest neighbour index.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use crate::data::id_mapping::numbers;
use crate::data::tower_columns::mismatches;
use crate::model::distinct_users::DistinctUsers;
use crate::model::retrieval_type::{RetrievalType, Score};
use crate::model::stored_model::LoadedModel;
use crate::towers::Side;
use towline_api::{
    Artifact, Code, Column, Context, DatasetPort, Describe, Form, Inputs, ModelPort, NodeType, Operator, OperatorError,
    Output, Port, Problem, Purity, Receipt, Report, Result, Schema, Sink, TaskResult, TypeContext,
};
use towline_tables::TableWriter;

/// Distance metric of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Dot product: the score of models without normalisation.
    Dot,
    /// Cosine similarity: the score of models with `normalize: l2`.
    Cosine,
    /// Euclidean distance: no model of Towline scores by it.
    Euclidean,
}

/// Builds an approximate nearest neighbour index (HNSW, Malkov and Yashunin 2016) of a model's item embeddings for
/// other programs, and measures its recall of the exact top-k.
///
/// `items.usearch` can be read by the usearch library in any language. Its keys are row numbers of `items.parquet`,
/// which has the original ids in ascending order. Items are added one at a time in that order, so the same model gives
/// the same file.
///
/// For models that score by cosine the index has the embeddings and uses the cosine. An HNSW graph by dot products
/// misses short vectors; for models that score by dot product the index therefore uses the reduction to euclidean
/// distance (Bachrach et al. 2014): each vector `v` gets the additional component `sqrt(M² - |v|²)`, where `M` is the
/// largest norm, and queries get 0.
///
/// The metric `recall_at_K` is the fraction of the exact top `k` that the index returns, over a sample of users; items
/// with the same score as the k-th count as hits.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnnIndex {
    /// Output folder; existing files of the same names are replaced.
    pub path: PathBuf,
    /// Distance metric; it must be the model's score, which is the default.
    #[serde(default)]
    pub metric: Option<Metric>,
    /// Maximum number of neighbours per node of the HNSW graph (M).
    #[serde(default = "default_connectivity")]
    #[schemars(range(min = 2, max = 256))]
    pub connectivity: usize,
    /// Number of candidates during construction (efConstruction).
    #[serde(default = "default_expansion_add")]
    #[schemars(range(min = 1, max = 65536))]
    pub expansion_add: usize,
    /// Number of candidates during search (efSearch).
    #[serde(default = "default_expansion_search")]
    #[schemars(range(min = 1, max = 65536))]
    pub expansion_search: usize,
    /// List length of the recall measurement.
    #[serde(default = "default_k")]
    #[schemars(range(min = 1, max = 10000))]
    pub k: usize,
    /// Number of users in the recall measurement.
    #[serde(default = "default_sample")]
    #[schemars(range(min = 1))]
    pub sample: usize,
    /// Random seed of the sample of users.
    #[serde(default = "default_seed")]
    pub seed: u64,
}

fn default_connectivity() -> usize {
    16
}

fn default_expansion_add() -> usize {
    128
}

fn default_expansion_search() -> usize {
    64
}

fn default_k() -> usize {
    10
}

fn default_sample() -> usize {
    1000
}

fn default_seed() -> u64 {
    1
}

/// Output files.
const INDEX: &str = "items.usearch";
const IDS: &str = "items.parquet";

const MODEL: ModelPort = ModelPort::required("model", "The model whose items are indexed.");
const QUERIES: DatasetPort = DatasetPort::required(
    "queries",
    "Users to compare with exact search, with the columns of the model's query side.",
);

impl Describe for AnnIndex {
    const NAME: &'static str = "AnnIndex";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Effect;
    const PORTS: &'static [Port] = &[MODEL.port(), QUERIES.port()];
    const EXAMPLE: &'static str =
        "op: AnnIndex\ninputs: { model: model, queries: features }\nwith: { path: out/index, k: 20 }\n";
}

impl AnnIndex {
    fn recall(&self) -> String {
        format!("recall_at_{}", self.k)
    }
}

impl Operator for AnnIndex {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let model = RetrievalType::at(MODEL, inputs)?;
        let wanted: Vec<&Column> = model.query.columns.iter().collect();
        let mut problems = mismatches(&wanted, &QUERIES.input_type(inputs)?.schema, QUERIES.name());
        match (model.score, self.metric) {
            (None, _) => {
                let message = "this model has no embeddings that could be indexed";
                problems.push(Problem::new(Code::BadInput, message).at_port(MODEL.name()));
            }
            (Some(score), Some(metric)) if metric != of_score(score) => {
                let (own, name) = match score {
                    Score::Dot => ("dot products", "dot"),
                    Score::Cosine => ("cosines", "cosine"),
                };
                let message =
                    format!("the model scores by {own}, but the index would use another metric and find other items");
                let help = format!("leave `metric` out, or write `metric: {name}`");
                problems.push(Problem::new(Code::IndexMetric, message).at("metric").help(help));
            }
            _ => {}
        }
        if problems.is_empty() {
            Ok(NodeType::Receipt)
        } else {
            Err(problems)
        }
    }

    fn metrics(&self, _: &NodeType) -> Vec<String> {
        vec![self.recall()]
    }

    fn form(&self) -> Form<'_> {
        Form::Sink(self)
    }
}

fn of_score(score: Score) -> Metric {
    match score {
        Score::Dot => Metric::Dot,
        Score::Cosine => Metric::Cosine,
    }
}

/// A vector with the additional component, if the score needs it.
fn lengthened(score: Score, vector: &[f32], rest: f32) -> Vec<f32> {
    let more = (score == Score::Dot).then_some(rest);
    vector.iter().copied().chain(more).collect()
}

fn failed(error: impl std::fmt::Display) -> OperatorError {
    OperatorError::invalid(format!("the index cannot be built: {error}"))
}

impl AnnIndex {
    /// Builds the index of the rows of `embeddings`.
    fn build(&self, score: Score, embeddings: &[f32], dim: usize, context: &Context) -> Result<Index> {
        let (metric, dimensions) = match score {
            Score::Dot => (MetricKind::L2sq, dim + 1),
            Score::Cosine => (MetricKind::Cos, dim),
        };
        let square = |vector: &[f32]| vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        let longest = embeddings.chunks_exact(dim).map(square).fold(0.0, f64::max);
        let options = IndexOptions {
            dimensions,
            metric,
            quantization: ScalarKind::F32,
            connectivity: self.connectivity,
            expansion_add: self.expansion_add,
            expansion_search: self.expansion_search,
            multi: false,
        };
        let index = Index::new(&options).map_err(failed)?;
        // A single thread and its level generator make the graph deterministic.
        let count = embeddings.len() / dim;
        index.reserve_capacity_and_threads(count, 1).map_err(failed)?;
        context.progress.begin("items", Some(count as u64));
        for (row, vector) in (0_u64..).zip(embeddings.chunks_exact(dim)) {
            let rest = (longest - square(vector)).max(0.0).sqrt() as f32;
            index.add(row, &lengthened(score, vector, rest)).map_err(failed)?;
            if row % 1024 == 1023 {
                context.cancel.check()?;
                context.progress.advance(1024);
            }
        }
        Ok(index)
    }

    /// Recall of the exact lists of a sample of users; items with the same score as the last one count as hits.
    fn measure(
        &self,
        index: &Index,
        embeddings: &[f32],
        model: &LoadedModel,
        users: &DistinctUsers,
        context: &Context,
    ) -> Result<f64> {
        let rows = self.sample(users)?;
        let table = users.table.select(&rows);
        let ids: Vec<i64> = rows.iter().map(|row| users.ids[*row]).collect();
        let ranker = model.ranker(None, context.threads)?;
        let exact = ranker.top_k(&table, &ids, self.k, &|_| &[], context, &|_| ())?;
        let towers = model.towers()?;
        let queries = towers.embed(Side::Query, &table, context.threads)?;
        let dim = towers.dim();
        let (mut hits, mut wanted) = (0_usize, 0_usize);
        for (query, exact) in queries.chunks_exact(dim).zip(exact) {
            let vector = lengthened(towers.normalize.score(), query, 0.0);
            let found = index.search(&vector, self.k).map_err(failed)?;
            let least = exact.last().map_or(f32::INFINITY, |scored| scored.score);
            let score = |row: &u64| towline_kernels::dot(query, &embeddings[*row as usize * dim..][..dim]);
            hits += found.keys.iter().filter(|row| score(row) >= least).count();
            wanted += exact.len();
        }
        Ok(hits as f64 / wanted.max(1) as f64)
    }

    /// A sample of users by a hash of their original ids, independent of other users.
    fn sample(&self, users: &DistinctUsers) -> Result<Vec<usize>> {
        let mut order: Vec<(u64, usize)> = numbers(&users.original)?
            .into_iter()
            .enumerate()
            .map(|(row, number)| (towline_kernels::chance(self.seed, number, 0), row))
            .collect();
        order.sort_unstable();
        order.truncate(self.sample);
        Ok(order.into_iter().map(|(_, row)| row).collect())
    }
}

/// Writes a file atomically under a temporary name.
fn publish(target: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<u64> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let unfinished = tempfile::Builder::new()
        .prefix(".towline-")
        .tempfile_in(folder)
        .map_err(OperatorError::io(folder))?
        .into_temp_path();
    write(&unfinished)?;
    let file = fs::File::open(&unfinished).map_err(OperatorError::io(target))?;
    file.sync_all().map_err(OperatorError::io(target))?;
    let size = file.metadata().map_err(OperatorError::io(target))?.len();
    unfinished
        .persist(target)
        .map_err(|error| OperatorError::io(target)(error.error))?;
    Ok(size)
}

fn write_ids(path: &Path, item_id: &str, original: &ArrayRef) -> Result<()> {
    let schema = Schema {
        columns: vec![
            Column::new("row", DataType::UInt64, false),
            Column::new(item_id, original.data_type().clone(), true),
        ],
    };
    let rows: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..original.len() as u64));
    let mut writer = TableWriter::create(path, schema.to_arrow())?;
    writer.write(&RecordBatch::try_new(
        schema.to_arrow(),
        vec![rows, Arc::clone(original)],
    )?)?;
    writer.finish().map(|_| ())
}

impl Sink for AnnIndex {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let files = MODEL.files(inputs)?;
        let model = LoadedModel::load(files, &context.cancel)?;
        let towers = model.towers()?;
        let users = DistinctUsers::read(QUERIES.files(inputs)?, None, &model, QUERIES.name(), &context.cancel)?;
        let dim = towers.dim();
        let embeddings = towers.embed(Side::Item, &model.catalogue.table, context.threads)?;
        let index = self.build(towers.normalize.score(), &embeddings, dim, context)?;
        let recall = self.measure(&index, &embeddings, &model, &users, context)?;
        fs::create_dir_all(&self.path).map_err(OperatorError::io(&self.path))?;
        let mut written = BTreeMap::new();
        let folder = std::path::absolute(&self.path).map_err(OperatorError::io(&self.path))?;
        let ids = folder.join(IDS);
        let write = |path: &Path| write_ids(path, &model.model_type.item_id, &model.catalogue.original);
        written.insert(ids.clone(), publish(&ids, write)?);
        let graph = folder.join(INDEX);
        let write = |path: &Path| {
            let path = path
                .to_str()
                .ok_or_else(|| OperatorError::invalid("`path` is not UTF-8"))?;
            index.save(path).map_err(failed)
        };
        written.insert(graph.clone(), publish(&graph, write)?);
        let items = model.catalogue.len();
        let facts = vec![
            ("items".to_owned(), items.to_string()),
            (
                format!("of the exact {} best found", self.k),
                format!("{:.1} %", recall * 100.0),
            ),
            (
                "users compared".to_owned(),
                users.ids.len().min(self.sample).to_string(),
            ),
        ];
        Ok(Output {
            result: TaskResult::Receipt(Receipt {
                target: self.path.display().to_string(),
                records: items as u64,
                files: written,
                details: [("model".to_owned(), Value::String(files.digest.clone()))].into(),
            }),
            metrics: [(self.recall(), recall)].into(),
            report: Report {
                facts,
                ..Report::default()
            },
        })
    }

    fn targets(&self) -> Vec<String> {
        vec![towline_api::target::path(&self.path)]
    }
}
