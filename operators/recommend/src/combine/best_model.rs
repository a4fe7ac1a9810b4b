//! `BestModel`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use towline_api::{
    Artifact, Context, Describe, Form, Inputs, Kind, ModelFiles, ModelType, NodeType, Operator, OperatorError, Output,
    Port, Problem, Purity, Report, ReportTable, Result, Task, TaskResult, TypeContext, suggest,
};

/// Hands on the best of several models of one kind, by a metric: the metric of an evaluation of each, or, without
/// evaluations, one that the models' own training has left behind.
///
/// This is what `sweep:` ends in. The table that `towline show` prints has a row per model, the best first. Of equals the
/// first is taken; a model whose metric is not a number is never the best. Where a training or an evaluation has failed,
/// the best of the others is handed on, and the table says why it failed; only if all have failed is there no best one.
/// The metrics are those of the best (its evaluation's, or its own), `models`, how many were compared, `failed`, how many
/// were not, and `best`, the place of the best one, from 1.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BestModel {
    /// What to compare: `ndcg_at_10`, as Evaluate names it.
    pub metric: String,
    /// Whether the metric is to be maximised or minimised.
    #[serde(default)]
    #[schemars(extend("x-renamed-from" = ["goal"], "x-cache-name" = "goal"))]
    pub direction: Direction,
    /// What tells the models apart, in their order, for the table: `[{ dim: 32 }, { dim: 64 }]`.
    #[serde(default)]
    pub trials: Vec<Map<String, Value>>,
}

/// The direction in which a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The greater ones.
    #[default]
    Max,
    /// The smaller ones.
    Min,
}

const MODELS: &str = "models";
const EVALUATIONS: &str = "evaluations";
const COUNT: &str = "models";
const FAILED: &str = "failed";
const BEST: &str = "best";

impl Describe for BestModel {
    const NAME: &'static str = "BestModel";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[
        Port::model(MODELS, "The models to choose from.")
            .many()
            .named()
            .measured()
            .tolerant(),
        Port {
            name: EVALUATIONS,
            kind: Kind::Metrics,
            required: false,
            many: true,
            named: false,
            measured: false,
            tolerant: true,
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
        let better = |new: f64, old: f64| match self.direction {
            Direction::Max => new > old,
            Direction::Min => new < old,
        };
        let numbers = values.iter().enumerate().filter(|(_, value)| !value.is_nan());
        let best = numbers.reduce(|best, next| if better(*next.1, *best.1) { next } else { best });
        best.map(|(place, _)| place)
    }

    fn table(&self, standings: &[Standing<'_>], best: usize) -> ReportTable {
        let mut keys: Vec<&String> = Vec::new();
        for key in self.trials.iter().flat_map(Map::keys) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut order: Vec<usize> = (0..standings.len()).collect();
        let key = |place: usize| match (standings[place].1, self.direction) {
            (Err(_), _) => (true, f64::INFINITY),
            (Ok(value), _) if value.is_nan() => (false, f64::INFINITY),
            (Ok(value), Direction::Max) => (false, -value),
            (Ok(value), Direction::Min) => (false, value),
        };
        order.sort_by(|&a, &b| {
            let ((failed, value), (other_failed, other)) = (key(a), key(b));
            failed.cmp(&other_failed).then(value.total_cmp(&other)).then(a.cmp(&b))
        });
        let any_failed = standings.iter().any(|(_, value)| value.is_err());
        let row = |place: usize| {
            let (name, value) = standings[place];
            let mark = if place == best { " (best)" } else { "" };
            let parameters = keys
                .iter()
                .map(|key| self.trials.get(place).and_then(|trial| trial.get(*key)));
            let shown = parameters.map(|value| match value {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => String::new(),
            });
            let mut cells = vec![format!("{name}{mark}")];
            cells.extend(shown);
            cells.push(value.map_or_else(|_| "failed".to_owned(), |value| format!("{value:.4}")));
            cells.extend(any_failed.then(|| value.err().unwrap_or_default().to_owned()));
            cells
        };
        let heads = keys.iter().map(|key| (*key).clone());
        ReportTable {
            title: format!("{} models by {}", standings.len(), self.metric),
            columns: std::iter::once(String::new())
                .chain(heads)
                .chain([self.metric.clone()])
                .chain(any_failed.then(|| "why".to_owned()))
                .collect(),
            rows: order.into_iter().map(row).collect(),
        }
    }
}

/// A model's name, and the value that it is compared by or why there is none.
type Standing<'a> = (&'a str, Result<f64, &'a str>);

/// A model, and what was measured of it; or why there is none.
type Contestant<'a> = Result<(&'a ModelFiles, &'a BTreeMap<String, f64>), &'a str>;

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
                "these models measure nothing themselves: connect an evaluation of each, or give the sweep an `evaluate`"
                    .to_owned()
            } else {
                suggest::sentence(&self.metric, &names, "metrics")
            };
            let text = format!("there is no metric `{}` of every model", self.metric);
            return Err(vec![Problem::new("unknown-metric", text).at("metric").help(help)]);
        }
        known.extend([COUNT, FAILED, BEST].map(str::to_owned));
        Ok(NodeType::Model(common(&models, known)?))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

/// The models, each under its name.
fn contestants(inputs: &Inputs<Artifact>) -> Result<Vec<(&str, Contestant<'_>)>> {
    let on = |port: &'static str| inputs.0.iter().filter(move |input| input.port == port);
    let evaluated = on(EVALUATIONS).next().is_some();
    let mut evaluations = on(EVALUATIONS).map(|input| &input.value);
    let mut out = Vec::new();
    for input in on(MODELS) {
        let contestant = match (&input.value, evaluations.next()) {
            (Artifact::Failed(reason), _) | (_, Some(Artifact::Failed(reason))) => Err(reason.as_str()),
            (Artifact::Model(model), Some(Artifact::Metrics(metrics))) => Ok((model, metrics)),
            (Artifact::Model(model), None) if !evaluated => Ok((model, &model.metrics)),
            _ => {
                return Err(OperatorError::invalid(format!(
                    "nothing was measured of `{}`",
                    input.label
                )));
            }
        };
        out.push((input.label.as_str(), contestant));
    }
    Ok(out)
}

impl Task for BestModel {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let contestants = contestants(inputs)?;
        let mut standings: Vec<Standing<'_>> = Vec::with_capacity(contestants.len());
        for (name, contestant) in &contestants {
            let value = contestant.map(|(_, metrics)| metrics.get(&self.metric).copied());
            let missing = || OperatorError::invalid(format!("`{name}` has no metric `{}`", self.metric));
            standings.push(match value {
                Ok(value) => (name, Ok(value.ok_or_else(missing)?)),
                Err(reason) => (name, Err(reason)),
            });
        }
        let values: Vec<f64> = standings.iter().map(|(_, value)| value.unwrap_or(f64::NAN)).collect();
        let place = self.best(&values);
        let best = place.and_then(|place| Some((place, contestants[place].1.ok()?)));
        let (place, (model, measured)) = best.ok_or_else(|| {
            OperatorError::invalid(format!("`{}` is not a number for any of the models", self.metric))
        })?;
        let all = standings.len();
        let failed = standings.iter().filter(|(_, value)| value.is_err()).count();
        let mut metrics = measured.clone();
        metrics.insert(COUNT.to_owned(), (all - failed) as f64);
        metrics.insert(FAILED.to_owned(), failed as f64);
        metrics.insert(BEST.to_owned(), (place + 1) as f64);
        let warning = || {
            format!("{failed} of {all} models failed: this is the best of the others, and a next run tries them again")
        };
        let report = Report {
            facts: vec![("best".to_owned(), standings[place].0.to_owned())],
            tables: vec![self.table(&standings, place)],
            warnings: (failed > 0).then(warning).into_iter().collect(),
        };
        Ok(Output {
            result: handed_on(model, context)?,
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

    fn best_model(direction: Direction) -> BestModel {
        let trial = |dim: i64| Map::from_iter([("dim".to_owned(), Value::from(dim))]);
        BestModel {
            metric: "recall_at_10".to_owned(),
            direction,
            trials: vec![trial(8), trial(16), trial(32)],
        }
    }

    #[test]
    fn the_first_of_equals_and_never_what_is_not_a_number() {
        let most = best_model(Direction::Max);
        assert_eq!(most.best(&[0.1, 0.3, 0.3]), Some(1));
        assert_eq!(most.best(&[f64::NAN, 0.1, f64::NAN]), Some(1));
        assert_eq!(most.best(&[f64::NAN]), None);
        assert_eq!(best_model(Direction::Min).best(&[0.2, 0.1, 0.3]), Some(1));
    }

    #[test]
    fn the_table_has_the_best_first_and_what_tells_the_models_apart() {
        let most = best_model(Direction::Max);
        let table = most.table(&[("a", Ok(0.1)), ("b", Ok(f64::NAN)), ("c", Ok(0.2))], 2);
        assert_eq!(table.columns, ["", "dim", "recall_at_10"]);
        assert_eq!(
            table.rows,
            [["c (best)", "32", "0.2000"], ["a", "8", "0.1000"], ["b", "16", "NaN"]]
        );
    }

    #[test]
    fn the_table_has_what_failed_at_its_end_with_the_reason() {
        let table = best_model(Direction::Min).table(&[("a", Err("too fast")), ("b", Ok(f64::NAN)), ("c", Ok(0.2))], 2);
        assert_eq!(table.columns, ["", "dim", "recall_at_10", "why"]);
        assert_eq!(
            table.rows,
            [
                ["c (best)", "32", "0.2000", ""],
                ["b", "16", "NaN", ""],
                ["a", "8", "failed", "too fast"]
            ]
        );
    }
}
