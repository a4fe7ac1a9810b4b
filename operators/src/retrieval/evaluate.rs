//! `Evaluate`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::EncodedTable;
use super::evaluation::Cases;
use super::metrics::NAMES;
use super::model::{LoadedModel, tables};
use super::seen::Seen;
use super::sides::{columns_of, interaction_columns, mismatches};
use super::users::unknown_split;
use crate::contract::{
    Artifact, Context, DEFAULT_SPLIT, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output, Port, Problem,
    Purity, Report, ReportTable, Result, Task, TaskResult, TypeContext, dataset_at, file_dataset_at, model_at,
    model_files_at,
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
/// `map_at_10`, `mrr_at_10`, `hit_rate_at_10`, `coverage_at_10` (the part of the catalogue that is shown at all); those
/// of the baselines as `popularity.recall_at_10` and `random.recall_at_10`. A relevant item that the model has never
/// seen is a miss.
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
    /// Decides the lists of the baseline by chance.
    #[serde(default)]
    pub seed: u64,
}

fn default_k() -> Vec<usize> {
    vec![10]
}

fn default_split() -> String {
    "valid".to_owned()
}

/// The lines of the report, with the prefix of their metrics.
const LINES: [(&str, &str); 3] = [("model", ""), ("popularity", "popularity."), ("random", "random.")];

impl Describe for Evaluate {
    const NAME: &'static str = "Evaluate";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[
        Port::model("model", "The model to measure."),
        Port::dataset("data", "Interactions, encoded like the training data."),
        Port::dataset("seen", "Earlier interactions, for `exclude_seen`; the split `train` of `data` by default.")
            .optional(),
    ];
    const EXAMPLE: &'static str = "op: Evaluate\ninputs: { model: model, data: features }\nwith: { k: [10, 20] }\n";

    fn check(&self) -> Vec<Problem> {
        if self.k.is_empty() || self.k.contains(&0) {
            return vec![Problem::new("out-of-range", "`k` needs at least one length, none of them 0").at("k")];
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
        if !problems.is_empty() {
            return Err(problems);
        }
        let at =
            |prefix: &'static str| self.k.iter().flat_map(move |k| NAMES.map(|name| format!("{prefix}{name}_at_{k}")));
        Ok(NodeType::Metrics(LINES.iter().flat_map(|(_, prefix)| at(prefix)).collect()))
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
        if cases.len() == 0 {
            return Err(OperatorError::invalid(format!("the split `{}` has nothing to measure", self.split)));
        }
        let longest = self.k.iter().copied().max().unwrap_or(0);
        let items = model.item_embeddings(context.threads)?;
        let rankings = [
            cases.by_model(&model.towers, &items, longest, &seen, context)?,
            cases.by_popularity(catalogue, longest, &seen),
            cases.by_chance(catalogue, longest, &seen, self.seed),
        ];
        let mut metrics = BTreeMap::new();
        let mut report = Report::default();
        let averages = rankings.map(|rankings| cases.average(&rankings, &self.k));
        for (place, k) in self.k.iter().enumerate() {
            let mut columns = vec![format!("at {k}")];
            columns.extend(NAMES.map(str::to_owned));
            columns.push("recall, standard deviation".to_owned());
            let mut rows = Vec::new();
            for ((line, prefix), averages) in LINES.iter().zip(&averages) {
                let average = &averages[place];
                average.write(catalogue.len(), prefix, &mut metrics);
                let mut row = vec![(*line).to_owned()];
                row.extend(average.values(catalogue.len()).map(|value| format!("{value:.4}")));
                row.push(format!("{:.4}", average.recall_deviation()));
                rows.push(row);
            }
            report.tables.push(ReportTable { title: format!("top {k}, split {}", self.split), columns, rows });
        }
        report.facts = vec![
            ("queries".to_owned(), cases.len().to_string()),
            ("items".to_owned(), catalogue.len().to_string()),
            ("relevant items outside the catalogue".to_owned(), cases.outside.to_string()),
            ("interactions left out".to_owned(), cases.left_out.to_string()),
        ];
        Ok(Output { result: TaskResult::Metrics, metrics, report })
    }
}
