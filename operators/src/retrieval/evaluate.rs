//! `Evaluate`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bootstrap::intervals;
use super::columns::EncodedTable;
use super::evaluation::Cases;
use super::ids::Originals;
use super::metrics::{Average, NAMES, OF_QUERY};
use super::model::{LoadedModel, tables};
use super::seen::Seen;
use super::sides::{columns_of, interaction_columns, mismatches};
use super::users::unknown_split;
use crate::contract::{
    Artifact, Context, DEFAULT_SPLIT, DatasetFiles, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output,
    Port, Problem, Purity, Report, ReportTable, Result, Task, TaskResult, TypeContext, dataset_at, file_dataset_at,
    model_at, model_files_at,
};

/// What a metric is averaged over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Users: all items of a user are relevant at once; users without a known id are left out.
    #[default]
    User,
    /// Rows: the row's item alone is relevant.
    Interaction,
}

/// Measures how well a model ranks the interactions of a split, over the full catalogue, beside two baselines: the
/// same most popular items for everybody, and items drawn by chance.
///
/// Metrics at each `k`: `recall_at_10` (hits / min(relevant, k)), `precision_at_10`, `ndcg_at_10` (log2, binary),
/// `map_at_10`, `mrr_at_10`, `hit_rate_at_10`; `coverage_at_10` (the part of the catalogue that is shown at all),
/// `gini_at_10` (how unevenly), `popularity_at_10` (the mean share of the shown items in the training data); those of
/// the baselines as `popularity.recall_at_10` and `random.recall_at_10`. `head.` and `tail.` stand before the model's
/// metrics for relevant items that are among the most frequent ones which make up half of the training data, and for
/// all others; `cold.` for those of the others that the catalogue has though training never saw them (the port `items`
/// of a model brings them). `recall_at_10_low` and `_high` and so on are the bounds of a 95 % interval. A relevant item that the model
/// has never seen is a miss.
///
/// Scores by chance are SplitMix64 of the seed and the original ids: the same for every model of the same items.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// Lengths of the lists.
    #[serde(default = "default_k")]
    pub k: Vec<usize>,
    /// What a metric is averaged over.
    #[serde(default)]
    pub per: Per,
    /// Whether to leave out of the lists, and of the relevant items, what a user has interacted with already, by `seen`
    /// or else by the split `train` of `data`.
    #[serde(default)]
    pub exclude_seen: bool,
    /// The split to rank.
    #[serde(default = "default_split")]
    pub split: String,
    /// Columns of the model's query side, with one value a row, for whose values the model is measured one by one.
    #[serde(default)]
    pub segments: Vec<String>,
    /// How many resamples of the queries the intervals come from: none, or 20 to 100,000, for example `0`.
    #[serde(default = "default_bootstrap")]
    pub bootstrap: usize,
    /// Decides the lists by chance and the resamples.
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

/// The lines of the report, with the prefix of their metrics.
const LINES: [(&str, &str); 6] = [
    ("model", ""),
    ("popularity", "popularity."),
    ("random", "random."),
    ("model, head items", "head."),
    ("model, tail items", "tail."),
    ("model, cold items", COLD),
];
/// The prefix of the metrics for items that training never saw. The report has a line of them where there are any.
const COLD: &str = "cold.";
/// The ends of the names of an interval's bounds.
const BOUNDS: [&str; 2] = ["low", "high"];
/// With fewer, not even half a resample lies beyond a bound; with more, no bound gets better.
const RESAMPLES: std::ops::RangeInclusive<usize> = 20..=100_000;
/// Segments of a column that a report shows: those with the most queries.
const MOST_SEGMENTS: usize = 20;

impl Describe for Evaluate {
    const NAME: &'static str = "Evaluate";
    const CODE_VERSION: u32 = 4;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[
        Port::model("model", "The model to measure."),
        Port::dataset("data", "Interactions, encoded like the training data."),
        Port::dataset(
            "seen",
            "Earlier interactions, for `exclude_seen`; the split `train` of `data` by default.",
        )
        .optional(),
    ];
    const EXAMPLE: &'static str = "op: Evaluate\ninputs: { model: model, data: features }\nwith: { k: [10, 20] }\n";

    fn check(&self) -> Vec<Problem> {
        if self.k.is_empty() || self.k.contains(&0) {
            return vec![Problem::new("out-of-range", "`k` needs at least one length, none of them 0").at("k")];
        }
        if self.bootstrap != 0 && !RESAMPLES.contains(&self.bootstrap) {
            let (least, most) = (RESAMPLES.start(), RESAMPLES.end());
            let text = format!("an interval of 95 % takes {least} to {most} resamples; 0 is for none");
            return vec![Problem::new("out-of-range", text).at("bootstrap")];
        }
        Vec::new()
    }
}

impl Operator for Evaluate {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let model = model_at(inputs, "model")?;
        let data = dataset_at(inputs, "data")?;
        let mut problems = mismatches(&interaction_columns(model), &data.schema, "data");
        problems.extend(unknown_split(Some(&self.split), &data.splits, "split"));
        if self.exclude_seen {
            if inputs.get("seen").is_some() {
                let ids: Vec<_> = model.user_column().into_iter().chain(model.item_column()).collect();
                problems.extend(mismatches(&ids, &dataset_at(inputs, "seen")?.schema, "seen"));
            } else {
                problems.extend(unknown_split(Some(DEFAULT_SPLIT), &data.splits, "exclude_seen"));
            }
        }
        for (index, segment) in self.segments.iter().enumerate() {
            match model.query.get(segment) {
                None => problems.push(Problem::unknown_column(segment, &model.query).at_index("segments", index)),
                Some(column) if column.is_list() => {
                    let text = format!("`{segment}` holds lists: its rows belong to no one segment");
                    problems.push(Problem::new("bad-input", text).at_index("segments", index));
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
        let mut names: Vec<String> = LINES.iter().flat_map(|(_, prefix)| at(prefix)).collect();
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

impl Evaluate {
    fn seen(&self, inputs: &Inputs<Artifact>, model: &LoadedModel, context: &Context) -> Result<Seen> {
        if !self.exclude_seen {
            return Ok(Seen::default());
        }
        match inputs.get("seen") {
            Some(_) => Seen::read(file_dataset_at(inputs, "seen")?, None, model, "seen", &context.cancel),
            None => {
                let data = file_dataset_at(inputs, "data")?;
                Seen::read(data, Some(DEFAULT_SPLIT), model, "data", &context.cancel)
            }
        }
    }
}

impl Task for Evaluate {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let model = LoadedModel::load(model_files_at(inputs, "model")?, &context.cancel)?;
        let data = file_dataset_at(inputs, "data")?;
        let columns = columns_of(&interaction_columns(&model.model_type), data, "data")?;
        let table = EncodedTable::read(tables(data, Some(&self.split))?, &columns, &context.cancel)?;
        let seen = self.seen(inputs, &model, context)?;
        let (model_type, catalogue) = (&model.model_type, &model.catalogue);
        let cases = match self.per {
            Per::User => Cases::per_user(&table, model_type, catalogue, &model.users, &seen)?,
            Per::Interaction => Cases::per_interaction(&table, model_type, catalogue, &seen)?,
        };
        if let Some(why) = cases.hopeless(&self.split, table.rows).filter(|_| cases.len() == 0) {
            return Err(OperatorError::invalid(why));
        }
        let longest = self.k.iter().copied().max().unwrap_or(0).min(catalogue.len());
        let by_model = cases.by_model(&model.ranker(None, context.threads)?, longest, &seen, context)?;
        let by_popularity = cases.by_popularity(catalogue, longest, &seen);
        let by_chance = cases.by_chance(catalogue, &model.users, longest, &seen, self.seed)?;
        let (items, head, shares) = (catalogue.len(), catalogue.head(), catalogue.shares());
        let averages = [
            cases.average(&by_model, &self.k, items),
            cases.average(&by_popularity, &self.k, items),
            cases.average(&by_chance, &self.k, items),
            cases.average_of(&by_model, &self.k, items, |row| {
                row.is_some_and(|row| head[row as usize])
            }),
            cases.average_of(&by_model, &self.k, items, |row| {
                row.is_none_or(|row| !head[row as usize])
            }),
            cases.average_of(&by_model, &self.k, items, |row| {
                row.is_some_and(|row| shares[row as usize] == 0.0)
            }),
        ];
        let (mut metrics, mut report) = (BTreeMap::new(), Report::default());
        for (place, k) in self.k.iter().enumerate() {
            let of_k: Vec<&Average> = averages.iter().map(|averages| &averages[place]).collect();
            report.tables.push(self.table(*k, &of_k, &shares, &mut metrics));
        }
        for segment in &self.segments {
            report
                .tables
                .push(self.segment_table(segment, &cases, &by_model, &model, data)?);
        }
        report.facts = vec![
            ("queries".to_owned(), cases.len().to_string()),
            ("items".to_owned(), catalogue.len().to_string()),
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
    /// The lines at one k; their metrics are added to `metrics`.
    fn table(
        &self,
        k: usize,
        averages: &[&Average],
        shares: &[f64],
        metrics: &mut BTreeMap<String, f64>,
    ) -> ReportTable {
        let mut columns = vec![format!("at {k}")];
        columns.extend(NAMES.map(str::to_owned));
        columns.extend(["recall, 95 %", "queries"].map(str::to_owned));
        let mut rows = Vec::new();
        for ((line, prefix), average) in LINES.iter().zip(averages) {
            average.write(shares, prefix, metrics);
            if *prefix == COLD && shares.iter().all(|share| *share > 0.0) {
                continue;
            }
            let mut row = vec![(*line).to_owned()];
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

    /// The model's metrics for the values of a column, at the first k.
    fn segment_table(
        &self,
        segment: &str,
        cases: &Cases,
        rankings: &[Vec<u32>],
        model: &LoadedModel,
        data: &DatasetFiles,
    ) -> Result<ReportTable> {
        let k = self.k.first().copied().unwrap_or(1);
        let column = model.model_type.query.get(segment);
        let column = column.ok_or_else(|| OperatorError::invalid(format!("there is no column `{segment}`")))?;
        let mut found: Vec<(i64, Average)> = cases
            .by_column(rankings, k, model.catalogue.len(), segment)?
            .into_iter()
            .collect();
        found.sort_by_key(|(_, average)| std::cmp::Reverse(average.queries.len()));
        found.truncate(MOST_SEGMENTS);
        let ids: Vec<i64> = found.iter().map(|(id, _)| *id).collect();
        let values = Originals::of(column, &data.vocabularies)?.decode(&ids)?;
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

/// A figure of a table.
fn figure(value: f64) -> String {
    format!("{value:.4}")
}
