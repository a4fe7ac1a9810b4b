//! `BestModel`: model selection.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use towline_api::{
    Artifact, Code, Context, Describe, Form, Inputs, Many, MetricsPort, ModelFiles, ModelPort, ModelType, NodeType,
    Operator, OperatorError, Output, Port, Problem, Purity, Report, ReportTable, Result, Task, TaskResult, TypeContext,
    suggest,
};

/// Selects the best of several models of one type by a metric: of a connected evaluation per model, or else of the
/// models' own training metrics.
///
/// This is the last node of a `sweep:`. `towline show` prints a table with one row per model, best first. Ties go to
/// the first model; a model whose metric is NaN is never selected. If training or evaluation of a model failed, the
/// table shows the error and the best of the others is selected; the node fails only if all failed. Metrics: those of
/// the best model (of its evaluation, or its own), `models` (number of models compared), `failed` (number of failed
/// ones) and `best` (index of the best model, from 1).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BestModel {
    /// Metric to compare, with the name that `Evaluate` gives it: `ndcg_at_10`.
    pub metric: String,
    /// Whether to maximise or minimise the metric.
    #[serde(default)]
    #[schemars(extend("x-renamed-from" = ["goal"], "x-cache-name" = "goal"))]
    pub direction: Direction,
    /// Parameters of each model, in input order, for the table: `[{ dim: 32 }, { dim: 64 }]`.
    #[serde(default)]
    pub trials: Vec<Map<String, Value>>,
}

/// Optimisation direction of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Maximise.
    #[default]
    Max,
    /// Minimise.
    Min,
}

const MODELS: ModelPort<Many> = ModelPort::many("models", "The models to choose from.")
    .named()
    .measured()
    .tolerant();
const EVALUATIONS: MetricsPort<Many> =
    MetricsPort::many("evaluations", "What was measured of each of them, in the same order.")
        .or_none()
        .tolerant();
/// The metrics beside those of the best model: models compared, models that failed, the place of the best one.
const COUNT: &str = "models";
const FAILED: &str = "failed";
const BEST: &str = "best";

impl Describe for BestModel {
    const NAME: &'static str = "BestModel";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[MODELS.port(), EVALUATIONS.port()];
    const EXAMPLE: &'static str =
        "op: BestModel\ninputs: { small: model_32, large: model_64 }\nwith: { metric: recall_at_10 }\n";
}

impl BestModel {
    /// The metrics that every model is known to have before the run.
    fn known(inputs: &Inputs<NodeType>) -> Result<Vec<String>, Vec<Problem>> {
        let evaluations = EVALUATIONS.input_types(inputs)?;
        let mut names: Vec<&Vec<String>> = evaluations.iter().map(|evaluation| evaluation.value).collect();
        if names.is_empty() {
            let models = MODELS.input_types(inputs)?;
            names.extend(models.iter().map(|model| &model.value.metrics));
        }
        let Some((first, others)) = names.split_first() else {
            return Ok(Vec::new());
        };
        let of_all = |name: &&String| others.iter().all(|own| own.contains(name));
        Ok(first.iter().filter(of_all).cloned().collect())
    }

    /// The index of the best value.
    fn best(&self, values: &[f64]) -> Option<usize> {
        let better = |new: f64, old: f64| match self.direction {
            Direction::Max => new > old,
            Direction::Min => new < old,
        };
        let numbers = values.iter().enumerate().filter(|(_, value)| !value.is_nan());
        let best = numbers.reduce(|best, next| if better(*next.1, *best.1) { next } else { best });
        best.map(|(place, _)| place)
    }

    fn table(&self, scores: &[TrialScore<'_>], best: usize) -> ReportTable {
        let mut keys: Vec<&String> = Vec::new();
        for key in self.trials.iter().flat_map(Map::keys) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let key = |place: usize| match (scores[place].1, self.direction) {
            (Err(_), _) => (true, f64::INFINITY),
            (Ok(value), _) if value.is_nan() => (false, f64::INFINITY),
            (Ok(value), Direction::Max) => (false, -value),
            (Ok(value), Direction::Min) => (false, value),
        };
        order.sort_by(|&a, &b| {
            let ((failed, value), (other_failed, other)) = (key(a), key(b));
            failed.cmp(&other_failed).then(value.total_cmp(&other)).then(a.cmp(&b))
        });
        let any_failed = scores.iter().any(|(_, value)| value.is_err());
        let row = |place: usize| {
            let (name, value) = scores[place];
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
            title: format!("{} models by {}", scores.len(), self.metric),
            columns: std::iter::once(String::new())
                .chain(heads)
                .chain([self.metric.clone()])
                .chain(any_failed.then(|| "why".to_owned()))
                .collect(),
            rows: order.into_iter().map(row).collect(),
        }
    }
}

/// A model's name, and its metric or the error.
type TrialScore<'a> = (&'a str, Result<f64, &'a str>);

/// A model with its metrics, or the error.
type Trial<'a> = Result<(&'a ModelFiles, &'a BTreeMap<String, f64>), &'a str>;

/// The common type of the models: facts that differ between them are not known before the run.
fn common(models: &[&ModelType], metrics: Vec<String>) -> Result<ModelType, Vec<Problem>> {
    let Some(first) = models.first() else {
        return Err(vec![
            Problem::new(Code::BadInput, "no model is connected").at_port(MODELS.name()),
        ]);
    };
    let mut common = (*first).clone();
    for model in &models[1..] {
        if (&model.family, &model.inputs) != (&first.family, &first.inputs) {
            let problem = Problem::new(Code::BadInput, "the models have different columns").at_port(MODELS.name());
            return Err(vec![
                problem.help("only models with the same input columns can be compared"),
            ]);
        }
        common
            .properties
            .retain(|name, value| model.properties.get(name) == Some(value));
    }
    common.metrics = metrics;
    Ok(common)
}

impl Operator for BestModel {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let models: Vec<&ModelType> = MODELS.input_types(inputs)?.iter().map(|model| model.value).collect();
        let evaluations = EVALUATIONS.all(inputs).count();
        if evaluations > 0 && evaluations != models.len() {
            let text = format!("{} models, but {evaluations} evaluations", models.len());
            return Err(vec![Problem::new(Code::BadInput, text).at_port(EVALUATIONS.name())]);
        }
        if !self.trials.is_empty() && self.trials.len() != models.len() {
            let text = format!("{} models, but {} trials", models.len(), self.trials.len());
            return Err(vec![Problem::new(Code::BadConfig, text).at("trials")]);
        }
        let mut known = Self::known(inputs)?;
        if !known.contains(&self.metric) {
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            let help = if names.is_empty() {
                "these models have no metrics of their own: connect an evaluation of each, or give the sweep an `evaluate`"
                    .to_owned()
            } else {
                suggest::sentence(&self.metric, &names, "metrics")
            };
            let text = format!("not every model has a metric `{}`", self.metric);
            return Err(vec![Problem::new(Code::UnknownMetric, text).at("metric").help(help)]);
        }
        known.extend([COUNT, FAILED, BEST].map(str::to_owned));
        Ok(NodeType::Model(common(&models, known)?))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

/// The models by name.
fn trials(inputs: &Inputs<Artifact>) -> Result<Vec<(&str, Trial<'_>)>> {
    let evaluated = EVALUATIONS.is_connected(inputs);
    let mut evaluations = EVALUATIONS.all(inputs).map(|input| &input.value);
    let mut out = Vec::new();
    for input in MODELS.all(inputs) {
        let trial = match (&input.value, evaluations.next()) {
            (Artifact::Failed(reason), _) | (_, Some(Artifact::Failed(reason))) => Err(reason.as_str()),
            (Artifact::Model(model), Some(Artifact::Metrics(metrics))) => Ok((model, metrics)),
            (Artifact::Model(model), None) if !evaluated => Ok((model, &model.metrics)),
            _ => {
                return Err(OperatorError::invalid(format!(
                    "there is no evaluation of `{}`",
                    input.label
                )));
            }
        };
        out.push((input.label.as_str(), trial));
    }
    Ok(out)
}

impl Task for BestModel {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let trials = trials(inputs)?;
        let mut scores: Vec<TrialScore<'_>> = Vec::with_capacity(trials.len());
        for (name, trial) in &trials {
            let value = trial.map(|(_, metrics)| metrics.get(&self.metric).copied());
            let missing = || OperatorError::invalid(format!("`{name}` has no metric `{}`", self.metric));
            scores.push(match value {
                Ok(value) => (name, Ok(value.ok_or_else(missing)?)),
                Err(reason) => (name, Err(reason)),
            });
        }
        let values: Vec<f64> = scores.iter().map(|(_, value)| value.unwrap_or(f64::NAN)).collect();
        let place = self.best(&values);
        let best = place.and_then(|place| Some((place, trials[place].1.ok()?)));
        let (place, (model, measured)) =
            best.ok_or_else(|| OperatorError::invalid(format!("`{}` is NaN for all models", self.metric)))?;
        let all = scores.len();
        let failed = scores.iter().filter(|(_, value)| value.is_err()).count();
        let mut metrics = measured.clone();
        metrics.insert(COUNT.to_owned(), (all - failed) as f64);
        metrics.insert(FAILED.to_owned(), failed as f64);
        metrics.insert(BEST.to_owned(), (place + 1) as f64);
        let warning = || {
            format!(
                "{failed} of {all} models failed: this is the best of the others; the next run retries the failed ones"
            )
        };
        let report = Report {
            facts: vec![("best".to_owned(), scores[place].0.to_owned())],
            tables: vec![self.table(&scores, place)],
            warnings: (failed > 0).then(warning).into_iter().collect(),
        };
        Ok(Output {
            result: copied(model, context)?,
            metrics,
            report,
        })
    }
}

/// Copies the selected model: files in the store are never moved.
fn copied(model: &ModelFiles, context: &Context) -> Result<TaskResult> {
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
