//! `DataStats`: summary statistics of a dataset.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::array_value_to_string;
use datafusion::prelude::ParquetReadOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use towline_api::{
    Artifact, Column, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, Output, Port, Problem, Purity,
    Report, ReportTable, Result, TableFile, Task, TaskResult, TypeContext,
};
use towline_tables::sql_planning::quoted;

/// Computes summary statistics of every split: number of rows, and per column the number of missing values (null and
/// NaN) and distinct values, minimum, maximum, mean and standard deviation. They are metrics named `<split>_rows` and
/// `<split>_<column>_<statistic>`, with the statistics `nulls`, `distinct` and, for numbers, `min`, `max`, `mean`,
/// `std`; `towline show` prints them as a table. For lists only `nulls` is computed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataStats {}

/// The statistics of a column with their SQL expressions.
fn statistics(column: &Column) -> Vec<(&'static str, String)> {
    let name = quoted(&column.name);
    let floats = column.data_type.is_floating();
    let value = if floats {
        format!("(CASE WHEN isnan({name}) THEN NULL ELSE {name} END)")
    } else {
        name
    };
    let mut out = vec![("nulls", format!("count(*) - count({value})"))];
    if column.is_list() {
        return out;
    }
    out.push(("distinct", format!("count(DISTINCT {value})")));
    if column.data_type != DataType::Boolean {
        out.push(("min", format!("min({value})")));
        out.push(("max", format!("max({value})")));
    }
    if column.data_type.is_numeric() {
        out.push(("mean", format!("avg({value})")));
        out.push(("std", format!("stddev({value})")));
    }
    out
}

fn is_metric(column: &Column, statistic: &str) -> bool {
    matches!(statistic, "nulls" | "distinct") || column.data_type.is_numeric()
}

const INPUT: DatasetPort = DatasetPort::required("input", "The dataset to profile.");

impl Describe for DataStats {
    const NAME: &'static str = "DataStats";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: DataStats\ninput: interactions\n";
}

impl Operator for DataStats {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let mut names = Vec::new();
        for split in &input.splits {
            names.push(format!("{split}_rows"));
            for column in &input.schema.columns {
                let metrics = statistics(column)
                    .into_iter()
                    .filter(|(statistic, _)| is_metric(column, statistic));
                names.extend(metrics.map(|(statistic, _)| format!("{split}_{}_{statistic}", column.name)));
            }
        }
        Ok(NodeType::Metrics(names))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl Task for DataStats {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let input = INPUT.files(inputs)?;
        let (mut metrics, mut tables) = (BTreeMap::new(), Vec::new());
        for (split, table) in &input.splits {
            context.cancel.check()?;
            context.progress.note(&format!("profiling {split}"));
            let mut rows = Vec::new();
            metrics.insert(format!("{split}_rows"), table.rows as f64);
            for column in &input.schema.columns {
                let statistics = statistics(column);
                let found = query(table, &statistics, context)?;
                let mut line = vec![column.name.clone(), column.data_type.to_string()];
                for head in ["nulls", "distinct", "min", "max", "mean", "std"] {
                    let place = statistics.iter().position(|(statistic, _)| *statistic == head);
                    let Some(array) = place.map(|place| found.column(place)) else {
                        line.push(String::new());
                        continue;
                    };
                    line.push(array_value_to_string(array, 0)?);
                    if is_metric(column, head) {
                        let number = cast(array, &DataType::Float64)?;
                        let number = number.as_primitive::<Float64Type>();
                        // A column without values has no mean, so the metric is NaN.
                        let value = if number.is_valid(0) { number.value(0) } else { f64::NAN };
                        metrics.insert(format!("{split}_{}_{head}", column.name), value);
                    }
                }
                rows.push(line);
            }
            let heads = ["column", "type", "nulls", "distinct", "min", "max", "mean", "std"];
            tables.push(ReportTable {
                title: format!("{split}: {} rows", table.rows),
                columns: heads.map(str::to_owned).to_vec(),
                rows,
            });
        }
        Ok(Output {
            result: TaskResult::Metrics,
            metrics,
            report: Report {
                tables,
                ..Report::default()
            },
        })
    }
}

fn query(table: &TableFile, statistics: &[(&str, String)], context: &Context) -> Result<RecordBatch> {
    let columns: Vec<String> = statistics
        .iter()
        .map(|(name, sql)| format!("{sql} AS {}", quoted(name)))
        .collect();
    let path = table.path.to_string_lossy().into_owned();
    let read = context.session.read_parquet(path, ParquetReadOptions::default());
    let frame = context.runtime.block_on(read)?;
    let sql = format!("SELECT {} FROM input", columns.join(", "));
    let frame = towline_tables::sql_planning::plan_query(&context.session, vec![("input", frame.into_view())], &sql)?;
    let batches = context.runtime.block_on(frame.collect())?;
    let schema = batches.first().map(RecordBatch::schema);
    let schema = schema.ok_or_else(|| towline_api::OperatorError::internal("the profile has no rows"))?;
    Ok(arrow::compute::concat_batches(&schema, &batches)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, run};

    #[test]
    fn every_statistic_of_numbers_and_text() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(3.0), None, Some(f64::NAN)]));
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("a"), Some("b"), None]));
        let ran = run::<DataStats>(json!({}), &[("input", Data::of([("f", floats), ("t", text)]))]);
        let expected = [
            ("train_rows", 4.0),
            ("train_f_nulls", 2.0),
            ("train_f_distinct", 2.0),
            ("train_f_min", 1.0),
            ("train_f_max", 3.0),
            ("train_f_mean", 2.0),
            ("train_f_std", 2_f64.sqrt()),
            ("train_t_nulls", 1.0),
            ("train_t_distinct", 2.0),
        ];
        let expected: BTreeMap<String, f64> = expected
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        assert_eq!(ran.metrics, expected);
    }
}
