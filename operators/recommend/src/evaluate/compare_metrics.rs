//! `CompareMetrics`: a comparison table.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use towline_api::{
    Artifact, Code, Context, Describe, Form, Inputs, Many, MetricsPort, Named, NodeType, Operator, OperatorError,
    Output, Port, Problem, Purity, Report, ReportTable, Result, Task, TaskResult, TypeContext, suggest,
};

/// Compares the metrics of several nodes in a table with one row per input, named as in the pipeline.
///
/// Inputs whose names differ in a trailing number only (`two_tower_1`, `two_tower_2`) are runs of the same
/// configuration: one row shows their mean and, after ±, their standard deviation. The metrics are `<row>.<metric>`
/// and, for rows of several runs, `<row>.<metric>_deviation`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareMetrics {
    /// Metrics to show, in order.
    pub metrics: Vec<String>,
}

const METRICS: MetricsPort<Many> = MetricsPort::many("metrics", "What to compare, with the names of the rows.").named();

impl Describe for CompareMetrics {
    const NAME: &'static str = "CompareMetrics";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[METRICS.port()];
    const EXAMPLE: &'static str = "op: CompareMetrics\ninputs: { popularity: line, two_tower_1: first, two_tower_2: second }\nwith: { metrics: [recall_at_10, ndcg_at_10] }\n";

    fn check(&self) -> Vec<Problem> {
        if self.metrics.is_empty() {
            return vec![Problem::new(Code::OutOfRange, "no metrics are connected").at("metrics")];
        }
        Vec::new()
    }
}

/// The rows with their input indexes, ordered by first occurrence.
fn rows<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<(String, Vec<usize>)> {
    let mut rows: Vec<(String, Vec<usize>)> = Vec::new();
    for (place, label) in labels.enumerate() {
        let stem = label.trim_end_matches(|c: char| c.is_ascii_digit());
        let name = match stem.strip_suffix(['_', '-']) {
            Some(name) if stem.len() < label.len() && !name.is_empty() => name,
            _ => label,
        };
        match rows.iter_mut().find(|(row, _)| row == name) {
            Some((_, places)) => places.push(place),
            None => rows.push((name.to_owned(), vec![place])),
        }
    }
    rows
}

impl Operator for CompareMetrics {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let mut problems = Vec::new();
        let connected = METRICS.input_types(inputs)?;
        for Named { label, value: known } in &connected {
            for (index, metric) in self
                .metrics
                .iter()
                .enumerate()
                .filter(|(_, metric)| !known.contains(metric))
            {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let help = suggest::sentence(metric, &known, "metrics");
                let text = format!("`{label}` has no metric `{metric}`");
                problems.push(Problem::new(Code::BadInput, text).at_index("metrics", index).help(help));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut names = Vec::new();
        for (row, places) in rows(connected.iter().map(|input| input.label)) {
            for metric in &self.metrics {
                names.push(format!("{row}.{metric}"));
                if places.len() > 1 {
                    names.push(format!("{row}.{metric}_deviation"));
                }
            }
        }
        Ok(NodeType::Metrics(names))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl Task for CompareMetrics {
    fn run(&self, inputs: &Inputs<Artifact>, _: &Context) -> Result<Output> {
        let connected = METRICS.files(inputs)?;
        let mut metrics = BTreeMap::new();
        let mut table = ReportTable {
            title: "comparison".to_owned(),
            ..ReportTable::default()
        };
        table.columns = std::iter::once(String::new())
            .chain(self.metrics.iter().cloned())
            .collect();
        for (row, places) in rows(connected.iter().map(|input| input.label)) {
            let mut cells = vec![row.clone()];
            for metric in &self.metrics {
                let values = places.iter().map(|&place| connected[place].value.get(metric).copied());
                let values: Option<Vec<f64>> = values.collect();
                let values = values.ok_or_else(|| OperatorError::invalid(format!("{row}: there is no `{metric}`")))?;
                let (mean, deviation) = spread(&values);
                metrics.insert(format!("{row}.{metric}"), mean);
                if places.len() > 1 {
                    metrics.insert(format!("{row}.{metric}_deviation"), deviation);
                    cells.push(format!("{mean:.4} ±{deviation:.4}"));
                } else {
                    cells.push(format!("{mean:.4}"));
                }
            }
            table.rows.push(cells);
        }
        let report = Report {
            tables: vec![table],
            ..Report::default()
        };
        Ok(Output {
            result: TaskResult::Metrics,
            metrics,
            report,
        })
    }
}

/// Mean and sample standard deviation.
fn spread(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_differ_in_a_number_are_one_row() {
        assert_eq!(
            rows(["line", "model_1", "model_12", "top10"].into_iter()),
            [
                ("line".to_owned(), vec![0]),
                ("model".to_owned(), vec![1, 2]),
                ("top10".to_owned(), vec![3])
            ]
        );
        assert_eq!(
            spread(&[0.2, 0.4]),
            (0.300_000_000_000_000_04, 0.141_421_356_237_309_53)
        );
    }
}
