//! `Evaluate`: offline evaluation of a model.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::id_mapping::IdMapping;
use crate::data::tower_columns::{interaction_columns, mismatches};
use crate::evaluate::averaging_unit::Per;
use crate::evaluate::bootstrap::intervals;
use crate::evaluate::metrics::{AverageMetrics, NAMES, OF_QUERY};
use crate::evaluate::ranked_lists::{DATA, ModelRankings, RankedQueries, SEEN, longest};
use crate::model::distinct_users::unknown_split;
use crate::model::retrieval_type::RetrievalType;
use towline_api::{
    Artifact, Code, Context, DEFAULT_SPLIT, DatasetFiles, Describe, Form, Inputs, ModelPort, NodeType, Operator,
    OperatorError, Optional, Output, Port, Problem, Purity, Report, ReportTable, Result, Task, TaskResult, TypeContext,
};

/// Evaluates a model's ranking of the interactions of a split over the full catalogue, beside two baselines: the most
/// popular items and random items. If the optimal model is known, as for synthetic data, connect it to `optimal`; it is
/// evaluated on the same interactions.
///
/// Metrics at each `k`: `recall_at_10` (hits / min(relevant, k)), `precision_at_10`, `ndcg_at_10` (log2 discount,
/// binary relevance), `map_at_10`, `mrr_at_10`, `hit_rate_at_10`; `coverage_at_10` (fraction of the catalogue that is
/// recommended to anyone), `gini_at_10` (concentration of the recommendations on few items), `popularity_at_10` (mean
/// relative frequency of the recommended items in the training data). Baselines and the optimal model have a prefix:
/// `popularity.recall_at_10`, `random.recall_at_10`, `optimal.recall_at_10`. The model's metrics for subsets of the
/// relevant items also have a prefix: `head.` for the most frequent items that make up half of the training data,
/// `tail.` for all others, and `cold.` for those of the tail that were in the catalogue but not in the training data
/// (the port `items` of a model adds them). `recall_at_10_low` and `recall_at_10_high` are the bounds of a 95 %
/// confidence interval, and likewise for the other metrics. A relevant item that is unknown to the model is a miss.
///
/// Random scores are SplitMix64 of the seed and the original ids: the same for every model with the same items.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// Cut-offs k of the metrics: list lengths.
    #[serde(default = "default_k")]
    pub k: Vec<usize>,
    /// Unit that metrics are averaged over.
    #[serde(default)]
    pub per: Per,
    /// Whether to exclude the items that a user has already interacted with, in `seen` or else in the split `train` of
    /// `data`, from the lists and from the relevant items.
    #[serde(default)]
    pub exclude_seen: bool,
    /// The split to evaluate on.
    #[serde(default = "default_split")]
    pub split: String,
    /// Segment columns: query columns with one value per row; metrics are also reported per value.
    #[serde(default)]
    pub segments: Vec<String>,
    /// Number of bootstrap resamples for the confidence intervals: 0 for none, or 20 to 100,000, for example `0`.
    #[serde(default = "default_bootstrap")]
    pub bootstrap: usize,
    /// Random seed of the random baseline and the resamples.
    #[serde(default = "default_seed")]
    pub seed: u64,
}

fn default_k() -> Vec<usize> {
    vec![10]
}

fn default_bootstrap() -> usize {
    200
}

fn default_seed() -> u64 {
    1
}

fn default_split() -> String {
    "valid".to_owned()
}

/// Rows of every report, with their metric prefixes.
const REPORT_ROWS: [(&str, &str); 6] = [
    ("model", ""),
    ("popularity", "popularity."),
    ("random", "random."),
    ("model, head items", "head."),
    ("model, tail items", "tail."),
    ("model, cold items", COLD),
];
/// Row of the optimal model, if connected, with its prefix.
const OPTIMAL: (&str, &str) = ("optimal", "optimal.");
const OPTIMAL_PLACE: usize = 3;
/// Metric prefix of cold items. The report has a row for them if there are any.
const COLD: &str = "cold.";
/// Suffixes of the bounds of a confidence interval.
const BOUNDS: [&str; 2] = ["low", "high"];
/// With fewer, the tails hold less than half a resample; with more, the bounds do not improve.
const RESAMPLES: std::ops::RangeInclusive<usize> = 20..=100_000;
/// Maximum number of segments in a report: those with the most queries.
const MOST_SEGMENTS: usize = 20;

pub(crate) const MODEL: ModelPort = ModelPort::required("model", "The model to measure.");
pub(crate) const OPTIMAL_MODEL: ModelPort<Optional> = ModelPort::optional(
    "optimal",
    "The best possible model, where it is known: `PlantedOptimum` for data of `SyntheticAliCcp`.",
);

impl Describe for Evaluate {
    const NAME: &'static str = "Evaluate";
    const CODE_VERSION: u32 = 4;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[MODEL.port(), DATA.port(), SEEN.port(), OPTIMAL_MODEL.port()];
    const EXAMPLE: &'static str = "op: Evaluate\ninputs: { model: model, data: features }\nwith: { k: [10, 20] }\n";

    fn check(&self) -> Vec<Problem> {
        if self.k.is_empty() || self.k.contains(&0) {
            return vec![Problem::new(Code::OutOfRange, "`k` needs at least one length, none of them 0").at("k")];
        }
        if self.bootstrap != 0 && !RESAMPLES.contains(&self.bootstrap) {
            let (least, most) = (RESAMPLES.start(), RESAMPLES.end());
            let text = format!("a 95 % confidence interval needs {least} to {most} resamples; set 0 for no intervals");
            return vec![Problem::new(Code::OutOfRange, text).at("bootstrap")];
        }
        Vec::new()
    }
}

impl Operator for Evaluate {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let model = &RetrievalType::at(MODEL, inputs)?;
        let data = DATA.input_type(inputs)?;
        let mut problems = mismatches(&interaction_columns(model), &data.schema, DATA.name());
        problems.extend(unknown_split(Some(&self.split), &data.splits, "split"));
        if self.exclude_seen && !SEEN.is_connected(inputs) {
            problems.extend(unknown_split(Some(DEFAULT_SPLIT), &data.splits, "exclude_seen"));
        }
        problems.extend(self.unlike_seen(model, inputs)?);
        let optimal = RetrievalType::at_optional(OPTIMAL_MODEL, inputs)?;
        if let Some(optimal) = &optimal {
            problems.extend(mismatches(
                &interaction_columns(optimal),
                &data.schema,
                OPTIMAL_MODEL.name(),
            ));
            problems.extend(self.unlike_seen(optimal, inputs)?);
        }
        for (index, segment) in self.segments.iter().enumerate() {
            match model.query.get(segment) {
                None => problems.push(Problem::unknown_column(segment, &model.query).at_index("segments", index)),
                Some(column) if column.is_list() => {
                    let text = format!("`{segment}` holds lists: a segment column needs one value per row");
                    problems.push(Problem::new(Code::BadInput, text).at_index("segments", index));
                }
                Some(_) => {}
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let at = |prefix: &'static str| {
            self.k
                .iter()
                .flat_map(move |k| NAMES.map(|name| format!("{prefix}{name}_at_{k}")))
        };
        let lines = REPORT_ROWS.iter().chain(optimal.map(|_| &OPTIMAL));
        let mut names: Vec<String> = lines.flat_map(|(_, prefix)| at(prefix)).collect();
        if self.bootstrap > 0 {
            let bounds = |k: &usize| OF_QUERY.map(|name| BOUNDS.map(|bound| format!("{name}_at_{k}_{bound}")));
            names.extend(self.k.iter().flat_map(bounds).flatten());
        }
        Ok(NodeType::Metrics(names))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

/// A row of the report: name, metric prefix, and metrics at each k.
struct ReportRow<'a> {
    name: &'static str,
    prefix: &'static str,
    averages: Vec<AverageMetrics>,
    /// Relative frequency of each item in the training data.
    shares: &'a [f64],
}

impl Evaluate {
    /// Differences between a model and the dataset on `seen`, if that is read.
    fn unlike_seen(&self, model: &RetrievalType, inputs: &Inputs<NodeType>) -> Result<Vec<Problem>, Vec<Problem>> {
        let Some(seen) = SEEN.input_type(inputs)?.filter(|_| self.exclude_seen) else {
            return Ok(Vec::new());
        };
        let ids: Vec<_> = model.user_column().into_iter().chain(model.item_column()).collect();
        Ok(mismatches(&ids, &seen.schema, SEEN.name()))
    }

    /// The metrics of the standard rows, in order.
    fn averages(&self, ranked: &ModelRankings, shares: &[f64]) -> Result<[Vec<AverageMetrics>; REPORT_ROWS.len()]> {
        let ModelRankings {
            model,
            seen,
            cases,
            lists,
        } = ranked;
        let (catalogue, longest) = (&model.catalogue, longest(&self.k, &model.catalogue));
        let by_popularity = cases.by_popularity(catalogue, longest, seen);
        let by_chance = cases.by_chance(catalogue, &model.users, longest, seen, self.seed)?;
        let (items, head) = (catalogue.len(), catalogue.head());
        Ok([
            ranked.averages(&self.k),
            cases.average(&by_popularity, &self.k, items),
            cases.average(&by_chance, &self.k, items),
            cases.average_of(lists, &self.k, items, |row| row.is_some_and(|row| head[row as usize])),
            cases.average_of(lists, &self.k, items, |row| row.is_none_or(|row| !head[row as usize])),
            cases.average_of(lists, &self.k, items, |row| {
                row.is_some_and(|row| shares[row as usize] == 0.0)
            }),
        ])
    }
}

impl Task for Evaluate {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let queries = RankedQueries {
            split: &self.split,
            per: self.per,
            exclude_seen: self.exclude_seen,
            k: &self.k,
        };
        let ranked = ModelRankings::of(&queries, MODEL.files(inputs)?, inputs, context)?;
        let shares = ranked.model.catalogue.shares();
        let names = REPORT_ROWS.iter().zip(self.averages(&ranked, &shares)?);
        let line = |(&(name, prefix), averages)| ReportRow {
            name,
            prefix,
            averages,
            shares: &shares,
        };
        let mut lines: Vec<ReportRow<'_>> = names.map(line).collect();
        let optimal_shares: Vec<f64>;
        if let Some(optimal) = OPTIMAL_MODEL.files(inputs)? {
            let optimal = ModelRankings::of(&queries, optimal, inputs, context)?;
            optimal_shares = optimal.model.catalogue.shares();
            let averages = optimal.averages(&self.k);
            let (name, prefix) = OPTIMAL;
            let line = ReportRow {
                name,
                prefix,
                averages,
                shares: &optimal_shares,
            };
            lines.insert(OPTIMAL_PLACE, line);
        }
        let (mut metrics, mut report) = (BTreeMap::new(), Report::default());
        for place in 0..self.k.len() {
            report.tables.push(self.table(place, &lines, &mut metrics));
        }
        for segment in &self.segments {
            report
                .tables
                .push(self.segment_table(segment, &ranked, DATA.files(inputs)?)?);
        }
        let cases = &ranked.cases;
        report.facts = vec![
            ("queries".to_owned(), cases.len().to_string()),
            ("items".to_owned(), ranked.model.catalogue.len().to_string()),
            (
                "relevant items outside the catalogue".to_owned(),
                cases.outside.to_string(),
            ),
            ("interactions left out".to_owned(), cases.left_out.to_string()),
        ];
        Ok(Output {
            result: TaskResult::Metrics,
            metrics,
            report,
        })
    }
}

impl Evaluate {
    /// The report table for the k with this index; its metrics are added to `metrics`.
    fn table(&self, place: usize, lines: &[ReportRow<'_>], metrics: &mut BTreeMap<String, f64>) -> ReportTable {
        let k = self.k[place];
        let mut columns = vec![format!("at {k}")];
        columns.extend(NAMES.map(str::to_owned));
        columns.extend(["recall, 95 %", "queries"].map(str::to_owned));
        let mut rows = Vec::new();
        for line in lines {
            let (average, prefix, shares) = (&line.averages[place], line.prefix, line.shares);
            average.write(shares, prefix, metrics);
            if prefix == COLD && shares.iter().all(|share| *share > 0.0) {
                continue;
            }
            let mut row = vec![line.name.to_owned()];
            row.extend(average.values(shares).map(figure));
            let interval = if prefix.is_empty() && self.bootstrap > 0 {
                let intervals = intervals(&average.queries, self.bootstrap, self.seed);
                for (name, (low, high)) in OF_QUERY.iter().zip(intervals) {
                    for (bound, value) in BOUNDS.iter().zip([low, high]) {
                        metrics.insert(format!("{name}_at_{k}_{bound}"), value);
                    }
                }
                format!("{:.4} to {:.4}", intervals[0].0, intervals[0].1)
            } else {
                String::new()
            };
            row.extend([interval, average.queries.len().to_string()]);
            rows.push(row);
        }
        ReportTable {
            title: format!("top {k}, split {}", self.split),
            columns,
            rows,
        }
    }

    /// The model's metrics per value of a column, at the first k.
    fn segment_table(&self, segment: &str, ranked: &ModelRankings, data: &DatasetFiles) -> Result<ReportTable> {
        let model = &ranked.model;
        let k = self.k.first().copied().unwrap_or(1);
        let column = model.model_type.query.get(segment);
        let column = column.ok_or_else(|| OperatorError::internal(format!("there is no column `{segment}`")))?;
        let mut found: Vec<(i64, AverageMetrics)> = ranked
            .cases
            .by_column(&ranked.lists, k, model.catalogue.len(), segment)?
            .into_iter()
            .collect();
        found.sort_by_key(|(_, average)| std::cmp::Reverse(average.queries.len()));
        found.truncate(MOST_SEGMENTS);
        let ids: Vec<i64> = found.iter().map(|(id, _)| *id).collect();
        let values = IdMapping::of(column, &data.vocabularies)?.decode(&ids)?;
        let mut rows = Vec::new();
        for (place, (_, average)) in found.iter().enumerate() {
            let value = arrow::util::display::array_value_to_string(&values, place)?;
            let mut row = vec![if value.is_empty() { "unknown".to_owned() } else { value }];
            row.extend(average.of_queries().map(figure));
            row.push(average.queries.len().to_string());
            rows.push(row);
        }
        let names = OF_QUERY.map(str::to_owned);
        let columns = std::iter::once(format!("{segment}, at {k}"))
            .chain(names)
            .chain(["queries".to_owned()]);
        Ok(ReportTable {
            title: format!("by {segment}, split {}", self.split),
            columns: columns.collect(),
            rows,
        })
    }
}

/// Formats a metric.
fn figure(value: f64) -> String {
    format!("{value:.4}")
}
