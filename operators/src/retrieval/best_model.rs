//! `BestModel`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::contract::{
    Artifact, Context, Describe, Form, Inputs, Kind, ModelFiles, ModelType, NodeType, Operator, OperatorError, Output,
    Port, Problem, Purity, Report, ReportTable, Result, Task, TaskResult, TypeContext, suggest,
};

/// Hands on the best of several models of one kind, by a metric: the metric of an evaluation of each, or, without
/// evaluations, one that the models' own training has left behind.
///
/// This is what `sweep:` ends in. The table that `towline show` prints has a row per model, the best first. Of equals the
/// first is taken; a model whose metric is not a number is never the best. The metrics are those of the best (its
/// evaluation's, or its own), `models`, and `best`, the place of the best one, from 1.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BestModel {
    /// What to compare: `ndcg_at_10`, as Evaluate names it.
    pub metric: String,
    /// Whether more of it is better.
    #[serde(default)]
    pub goal: Goal,
    /// What tells the models apart, in their order, for the table: `[{ dim: 32 }, { dim: 64 }]`.
    #[serde(default)]
    pub trials: Vec<Map<String, Value>>,
}

/// Which values of a metric are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The greater ones.
    #[default]
    Max,
    /// The smaller ones.
    Min,
}

const MODELS: &str = "models";
const EVALUATIONS: &str = "evaluations";
const COUNT: &str = "models";
const BEST: &str = "best";

impl Describe for BestModel {
    const NAME: &'static str = "BestModel";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[
        Port::model(MODELS, "The models to choose from.")
            .many()
            .named()
            .measured(),
        Port {
            name: EVALUATIONS,
            kind: Kind::Metrics,
            required: false,
            many: true,
            named: false,
            measured: false,
            doc: "What was measured of each of them, in the same order.",
        },
    ];
    const EXAMPLE: &'static str =
        "op: BestModel\ninputs: { small: model_32, large: model_64 }\nwith: { metric: recall_at_10 }\n";
}

impl BestModel {
    /// The names that every model has the metrics under, as far as they are known without a run.
    fn known(inputs: &Inputs<NodeType>) -> Vec<String> {
        let evaluated = inputs.0.iter().any(|input| input.port == EVALUATIONS);
        let port = if evaluated { EVALUATIONS } else { MODELS };
        let mut names = inputs
            .0
            .iter()
            .filter(|input| input.port == port)
            .map(|input| match &input.value {
                NodeType::Metrics(names) => names.clone(),
                NodeType::Model(model) => model.metrics.clone(),
                NodeType::Dataset(_) | NodeType::Receipt => Vec::new(),
            });
        let first = names.next().unwrap_or_default();
        names.fold(first, |all, own| {
            all.into_iter().filter(|name| own.contains(name)).collect()
        })
    }

    /// The place of the best value.
    fn best(&self, values: &[f64]) -> Option<usize> {
        let better = |new: f64, old: f64| match self.goal {
            Goal::Max => new > old,
            Goal::Min => new < old,
        };
        let numbers = values.iter().enumerate().filter(|(_, value)| !value.is_nan());
        let best = numbers.reduce(|best, next| if better(*next.1, *best.1) { next } else { best });
        best.map(|(place, _)| place)
    }

    fn table(&self, names: &[&str], values: &[f64], best: usize) -> ReportTable {
        let mut keys: Vec<&String> = Vec::new();
        for key in self.trials.iter().flat_map(Map::keys) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut order: Vec<usize> = (0..values.len()).collect();
        let key = |place: usize| match (values[place], self.goal) {
            (value, _) if value.is_nan() => f64::INFINITY,
            (value, Goal::Max) => -value,
            (value, Goal::Min) => value,
        };
        order.sort_by(|&a, &b| key(a).total_cmp(&key(b)).then(a.cmp(&b)));
        let row = |place: usize| {
            let name = if place == best {
                format!("{} (best)", names[place])
            } else {
                names[place].to_owned()
            };
            let parameters = keys
                .iter()
                .map(|key| self.trials.get(place).and_then(|trial| trial.get(*key)));
            let shown = parameters.map(|value| match value {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => String::new(),
            });
            let mut cells = vec![name];
            cells.extend(shown);
            cells.push(format!("{:.4}", values[place]));
            cells
        };
        let heads = keys.iter().map(|key| (*key).clone());
        ReportTable {
            title: format!("{} models by {}", values.len(), self.metric),
            columns: std::iter::once(String::new())
                .chain(heads)
                .chain([self.metric.clone()])
                .collect(),
            rows: order.into_iter().map(row).collect(),
        }
    }
}

/// The type of any of these models: what they do not have in common is not known before the run.
fn common(models: &[&ModelType], metrics: Vec<String>) -> Result<ModelType, Vec<Problem>> {
    let Some(first) = models.first() else {
        return Err(vec![
            Problem::new("bad-input", "there is no model to choose from").at_port(MODELS),
        ]);
    };
    let mut common = (*first).clone();
    for model in &models[1..] {
        let like = |m: &ModelType| (m.query.clone(), m.item.clone(), m.user_id.clone(), m.item_id.clone());
        if like(model) != like(first) {
            let problem = Problem::new("bad-input", "these models are not of the same columns").at_port(MODELS);
            return Err(vec![
                problem.help("only models that can stand for each other are compared"),
            ]);
        }
        if model.dim != common.dim {
            common.dim = None;
        }
        if model.score != common.score {
            common.score = None;
        }
    }
    common.metrics = metrics;
    Ok(common)
}

impl Operator for BestModel {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let models: Vec<&ModelType> = inputs
            .values()
            .filter_map(|value| match value {
                NodeType::Model(model) => Some(model),
                _ => None,
            })
            .collect();
        let evaluations = inputs.0.iter().filter(|input| input.port == EVALUATIONS).count();
        if evaluations > 0 && evaluations != models.len() {
            let text = format!("{} models, but {evaluations} evaluations", models.len());
            return Err(vec![Problem::new("bad-input", text).at_port(EVALUATIONS)]);
        }
        if !self.trials.is_empty() && self.trials.len() != models.len() {
            let text = format!("{} models, but {} trials", models.len(), self.trials.len());
            return Err(vec![Problem::new("bad-config", text).at("trials")]);
        }
        let mut known = Self::known(inputs);
        if !known.contains(&self.metric) {
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            let help = if names.is_empty() {
                "these models measure nothing themselves: connect an evaluation of each, or give the sweep a `judge`"
                    .to_owned()
            } else {
                suggest::sentence(&self.metric, &names, "metrics")
            };
            let text = format!("there is no metric `{}` of every model", self.metric);
            return Err(vec![Problem::new("unknown-metric", text).at("metric").help(help)]);
        }
        known.extend([COUNT.to_owned(), BEST.to_owned()]);
        Ok(NodeType::Model(common(&models, known)?))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl Task for BestModel {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let mut names: Vec<&str> = Vec::new();
        let mut models: Vec<&ModelFiles> = Vec::new();
        let mut evaluations: Vec<&BTreeMap<String, f64>> = Vec::new();
        for input in &inputs.0 {
            match &input.value {
                Artifact::Model(model) => {
                    names.push(&input.label);
                    models.push(model);
                }
                Artifact::Metrics(metrics) => evaluations.push(metrics),
                Artifact::Dataset(_) | Artifact::Receipt(_) => {}
            }
        }
        let measured = |place: usize| evaluations.get(place).copied().unwrap_or(&models[place].metrics);
        let mut values = Vec::with_capacity(models.len());
        for (place, name) in names.iter().enumerate() {
            let value = measured(place).get(&self.metric).copied();
            values.push(
                value.ok_or_else(|| OperatorError::invalid(format!("`{name}` has no metric `{}`", self.metric)))?,
            );
        }
        let best = self.best(&values).ok_or_else(|| {
            OperatorError::invalid(format!("`{}` is not a number for any of the models", self.metric))
        })?;
        let mut metrics = measured(best).clone();
        metrics.insert(COUNT.to_owned(), models.len() as f64);
        metrics.insert(BEST.to_owned(), (best + 1) as f64);
        let report = Report {
            facts: vec![("best".to_owned(), names[best].to_owned())],
            tables: vec![self.table(&names, &values, best)],
            ..Report::default()
        };
        Ok(Output {
            result: handed_on(models[best], context)?,
            metrics,
            report,
        })
    }
}

/// The same model once more: its files are copied, since those in the store are never moved.
fn handed_on(model: &ModelFiles, context: &Context) -> Result<TaskResult> {
    let mut files = BTreeMap::new();
    for (name, path) in &model.files {
        let copy = context.temp.join(name);
        std::fs::copy(path, &copy).map_err(OperatorError::io(path))?;
        files.insert(name.clone(), copy);
    }
    Ok(TaskResult::Model {
        model_type: model.model_type.clone(),
        description: model.description.clone(),
        files,
        vocabularies: model.vocabularies.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best_model(goal: Goal) -> BestModel {
        let trial = |dim: i64| Map::from_iter([("dim".to_owned(), Value::from(dim))]);
        BestModel {
            metric: "recall_at_10".to_owned(),
            goal,
            trials: vec![trial(8), trial(16), trial(32)],
        }
    }

    #[test]
    fn the_first_of_equals_and_never_what_is_not_a_number() {
        let most = best_model(Goal::Max);
        assert_eq!(most.best(&[0.1, 0.3, 0.3]), Some(1));
        assert_eq!(most.best(&[f64::NAN, 0.1, f64::NAN]), Some(1));
        assert_eq!(most.best(&[f64::NAN]), None);
        assert_eq!(best_model(Goal::Min).best(&[0.2, 0.1, 0.3]), Some(1));
    }

    #[test]
    fn the_table_has_the_best_first_and_what_tells_the_models_apart() {
        let table = best_model(Goal::Max).table(&["a", "b", "c"], &[0.1, f64::NAN, 0.2], 2);
        assert_eq!(table.columns, ["", "dim", "recall_at_10"]);
        assert_eq!(
            table.rows,
            [["c (best)", "32", "0.2000"], ["a", "8", "0.1000"], ["b", "16", "NaN"]]
        );
    }
}
