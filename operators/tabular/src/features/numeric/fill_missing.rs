//! `FillMissing`: imputes missing values.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, is_null, kernels::zip::zip};
use arrow::datatypes::{DataType, Float64Type};
use hashbrown::HashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::features::columns_of::each_column;
use crate::features::fit_split::{default_split, unknown_split};
use crate::features::numeric::quantile::{Bins, exact};
use towline_api::{
    Code, Column, DatasetPort, Describe, FitContext, FitOutput, Fitter, Form, Inputs, NamedExpr, NodeType, Operator,
    OperatorError, Port, Problem, Purity, Result, Schema, State, Stateful, TypeContext,
};
use towline_tables::array_function::array_function;

/// Imputes missing values (null and NaN).
///
/// Numbers keep their type; with `mean`, `median` and `approximate_median` they become `Float64`. A column without any
/// value has no mean, median or mode and is unchanged. An infinite mean or median is an error. If several values are
/// equally frequent, the mode is the smallest.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FillMissing {
    /// Imputation method: `constant` (set `value`), `mean`, `median` (exact; keeps all values of a column in memory),
    /// `approximate_median` (relative error up to 0.025 %, little memory) or `mode` (the most frequent value).
    #[serde(default)]
    pub with: Filler,
    /// The constant: a number, a string or a boolean, for example `0` or `"unknown"`.
    #[serde(default)]
    pub value: Option<Value>,
    /// Whether to add an indicator column `<column>_filled`, which is true where a value was imputed.
    #[serde(default)]
    pub indicator: bool,
    /// The split to compute means, medians and modes on.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

/// Imputation method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filler {
    /// The constant `value`.
    #[default]
    Constant,
    /// The arithmetic mean.
    Mean,
    /// The exact median; the mean of the two middle values if their number is even.
    Median,
    /// The median from a histogram with bins of equal relative width.
    ApproximateMedian,
    /// The most frequent value.
    Mode,
}

impl FillMissing {
    fn filled(&self, column: &Column) -> Result<Column, Problem> {
        let mut out = column.clone();
        match self.with {
            Filler::Constant => {
                let value = self.value.clone().unwrap_or_default();
                if scalar(&value, &column.data_type).is_none() {
                    let message = format!(
                        "{value} is not a valid value of column `{}`, which holds {}",
                        column.name, column.data_type
                    );
                    return Err(Problem::new(Code::WrongType, message));
                }
                out.nullable = false;
            }
            Filler::Mode => {
                let texts = scalar(&Value::String(String::new()), &column.data_type).is_some();
                if !texts && !column.data_type.is_primitive() && column.data_type != DataType::Boolean {
                    let message = format!(
                        "column `{}` holds {}, for which `mode` is not supported",
                        column.name, column.data_type
                    );
                    return Err(Problem::new(Code::WrongType, message));
                }
            }
            Filler::Mean | Filler::Median | Filler::ApproximateMedian => {
                crate::features::columns_of::number(column, "has no mean or median")?;
                out.data_type = DataType::Float64;
            }
        }
        Ok(out)
    }
}

/// An array with one element, if the value has this type.
fn scalar(value: &Value, data_type: &DataType) -> Option<ArrayRef> {
    use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};
    let (array, fits): (ArrayRef, bool) = match value {
        Value::Bool(flag) => (
            Arc::new(BooleanArray::from(vec![*flag])),
            *data_type == DataType::Boolean,
        ),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => (Arc::new(Int64Array::from(vec![whole])), data_type.is_numeric()),
            None => (
                Arc::new(Float64Array::from(vec![number.as_f64()?])),
                data_type.is_floating(),
            ),
        },
        Value::String(text) => {
            let fits = data_type.is_temporal()
                || matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
            (Arc::new(StringArray::from(vec![text.as_str()])), fits)
        }
        _ => return None,
    };
    let array = fits.then(|| cast(&array, data_type).ok())?;
    array.filter(|array| array.null_count() == 0)
}

/// A mask of null and NaN values.
pub(crate) fn missing(array: &ArrayRef) -> Result<BooleanArray> {
    if !array.data_type().is_floating() {
        return Ok(is_null(array)?);
    }
    let floats = cast(array, &DataType::Float64)?;
    let none = floats
        .as_primitive::<Float64Type>()
        .iter()
        .map(|v| Some(v.is_none_or(f64::is_nan)));
    Ok(none.collect())
}

const INPUT: DatasetPort = DatasetPort::required("input", "The columns to fill.");

impl Describe for FillMissing {
    const NAME: &'static str = "FillMissing";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: FillMissing\ninput: clicks[price]\nwith: { with: median, indicator: true }\n";

    fn check(&self) -> Vec<Problem> {
        match (self.with, &self.value) {
            (Filler::Constant, None) => vec![
                Problem::new(Code::MissingKey, "the parameter `value` is missing")
                    .help("set the constant, as in `value: 0`, or another `with`"),
            ],
            (Filler::Constant, Some(_)) | (_, None) => Vec::new(),
            (_, Some(_)) => vec![Problem::new(Code::Conflict, "`value` needs `with: constant`").at("value")],
        }
    }
}

impl Operator for FillMissing {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        if let Some(problem) = unknown_split(&self.fit_on, &input.splits) {
            return Err(vec![problem]);
        }
        let mut output = each_column(INPUT, inputs, |column| self.filled(column))?;
        if let (true, NodeType::Dataset(dataset)) = (self.indicator, &mut output) {
            for column in &input.schema.columns {
                let name = format!("{}_filled", column.name);
                if dataset.schema.get(&name).is_some() {
                    let message = format!("the column `{name}` already exists");
                    return Err(vec![Problem::new(Code::DuplicateColumn, message).at("indicator")]);
                }
                let mut flag = Column::new(name, DataType::Boolean, false);
                flag.tags = column.tags.iter().copied().filter(|tag| tag.is_side()).collect();
                dataset.schema.columns.push(flag);
            }
        }
        Ok(output)
    }

    fn form(&self) -> Form<'_> {
        Form::Stateful(self)
    }
}

impl Stateful for FillMissing {
    fn fit_on(&self) -> &str {
        &self.fit_on
    }

    fn fit_columns(&self, input: &Schema) -> Vec<String> {
        if self.with == Filler::Constant {
            return Vec::new();
        }
        input.names().map(str::to_owned).collect()
    }

    fn fitter(&self, input: &Schema, _: &FitContext<'_>) -> Result<Box<dyn Fitter>> {
        let learner = |column: &Column| match self.with {
            Filler::Constant | Filler::Mean => ColumnFit::Mean {
                sum: 0.0,
                carry: 0.0,
                count: 0,
            },
            Filler::Median => ColumnFit::Median(Vec::new()),
            Filler::ApproximateMedian => ColumnFit::Approximate(Bins::default()),
            Filler::Mode => ColumnFit::Mode(column.data_type.clone(), HashMap::new()),
        };
        let columns = self.fit_columns(input).into_iter();
        let columns = columns
            .filter_map(|name| Some((name.clone(), learner(input.get(&name)?))))
            .collect();
        Ok(Box::new(Fit(columns)))
    }

    fn project(&self, state: &State, input: &Schema, _: &str, columns: &[NamedExpr]) -> Result<Vec<NamedExpr>> {
        let mut out = Vec::new();
        let mut flags = Vec::new();
        for column in columns {
            let found = crate::features::columns_of::type_of(input, &column.name)?;
            let field = Column::new(&column.name, found.clone(), true);
            let target = self
                .filled(&field)
                .map_err(|problem| OperatorError::invalid(problem.message))?;
            let value = match self.with {
                Filler::Constant => self.value.clone().unwrap_or_default(),
                _ => state.facts.get(&column.name).cloned().unwrap_or_default(),
            };
            let nothing = value.is_null();
            let name = format!("fill_missing({value})");
            let data_type = target.data_type.clone();
            let nullable = target.nullable;
            let expr = array_function(
                name,
                data_type.clone(),
                nullable,
                vec![column.expr.clone()],
                move |arrays| fill(&arrays[0], &value, &data_type),
            );
            out.push(NamedExpr {
                name: column.name.clone(),
                expr,
            });
            if self.indicator {
                let name = if nothing { "is_never_filled" } else { "is_missing" };
                let arguments = vec![column.expr.clone()];
                let expr = array_function(name.to_owned(), DataType::Boolean, false, arguments, move |arrays| {
                    if nothing {
                        return Ok(Arc::new(BooleanArray::from(vec![false; arrays[0].len()])));
                    }
                    Ok(Arc::new(missing(&arrays[0])?))
                });
                flags.push(NamedExpr {
                    name: format!("{}_filled", column.name),
                    expr,
                });
            }
        }
        out.extend(flags);
        Ok(out)
    }

    fn refine(&self, _: &State, output: &Schema) -> Result<Schema> {
        Ok(output.clone())
    }
}

fn fill(array: &ArrayRef, value: &Value, data_type: &DataType) -> Result<ArrayRef> {
    let kept = cast(array, data_type)?;
    let filler = match (value, data_type) {
        (Value::Null, _) => return Ok(kept),
        // A fit stores values that JSON cannot represent as text.
        (Value::String(text), _) if data_type.is_numeric() || *data_type == DataType::Boolean => {
            cast(&arrow::array::StringArray::from(vec![text.as_str()]), data_type)?
        }
        _ => scalar(value, data_type).ok_or_else(|| {
            OperatorError::invalid(format!("{value} is not a valid value of a column of type {data_type}"))
        })?,
    };
    Ok(zip(&missing(array)?, &arrow::array::Scalar::new(filler), &kept)?)
}

enum ColumnFit {
    Mean { sum: f64, carry: f64, count: u64 },
    Median(Vec<f64>),
    Approximate(Bins),
    Mode(DataType, HashMap<Box<str>, u64>),
}

struct Fit(Vec<(String, ColumnFit)>);

impl ColumnFit {
    fn update(&mut self, array: &ArrayRef) -> Result<()> {
        if let ColumnFit::Mode(_, counts) = self {
            let missing = missing(array)?;
            let text = cast(array, &DataType::Utf8)?;
            for (value, missing) in text.as_string::<i32>().iter().zip(missing.values()) {
                if let Some(value) = value.filter(|_| !missing) {
                    match counts.get_mut(value) {
                        Some(count) => *count += 1,
                        None => {
                            counts.insert(Box::from(value), 1);
                        }
                    }
                }
            }
            return Ok(());
        }
        let floats = cast(array, &DataType::Float64)?;
        for value in floats
            .as_primitive::<Float64Type>()
            .iter()
            .flatten()
            .filter(|v| !v.is_nan())
        {
            match self {
                ColumnFit::Mean { sum, carry, count } => {
                    // Neumaier summation: the rounding error is added at the end.
                    let next = *sum + value;
                    *carry += if sum.abs() >= value.abs() {
                        (*sum - next) + value
                    } else {
                        (value - next) + *sum
                    };
                    *sum = next;
                    *count += 1;
                }
                ColumnFit::Median(values) => values.push(value),
                ColumnFit::Approximate(bins) => bins.add(value),
                ColumnFit::Mode(..) => {}
            }
        }
        Ok(())
    }

    fn value(self) -> Result<Value> {
        Ok(match self {
            ColumnFit::Mean { count: 0, .. } => Value::Null,
            ColumnFit::Mean { sum, carry, count } => finite(Some((sum + carry) / count as f64))?,
            ColumnFit::Median(mut values) => finite(exact(&mut values, 0.5))?,
            ColumnFit::Approximate(bins) => finite(bins.quantile(0.5))?,
            ColumnFit::Mode(data_type, counts) => mode(&data_type, counts)?.map_or(Value::Null, Value::String),
        })
    }
}

/// The imputed value, or an error if it is infinite or its sum overflowed.
fn finite(value: Option<f64>) -> Result<Value> {
    match value {
        Some(value) if !value.is_finite() => Err(OperatorError::invalid(
            "its mean or median is infinite; put Clip before, or fill in a constant",
        )),
        value => Ok(json!(value)),
    }
}

/// The most frequent value as text; of equally frequent values the smallest in the column type's order.
fn mode(data_type: &DataType, counts: HashMap<Box<str>, u64>) -> Result<Option<String>> {
    let most = counts.values().max().copied().unwrap_or_default();
    let best: Vec<Box<str>> = counts
        .into_iter()
        .filter(|(_, count)| *count == most)
        .map(|(value, _)| value)
        .collect();
    let texts = arrow::array::StringArray::from_iter_values(best.iter());
    let order = arrow::compute::sort_to_indices(&cast(&texts, data_type)?, None, Some(1))?;
    Ok(order.values().first().map(|&first| best[first as usize].to_string()))
}

impl Fitter for Fit {
    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for ((_, learner), array) in self.0.iter_mut().zip(batch.columns()) {
            learner.update(array)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Path) -> Result<FitOutput> {
        let facts = self.0.into_iter().map(|(name, learner)| {
            let value = learner
                .value()
                .map_err(|error| error.reworded(|text| format!("column `{name}`: {text}")))?;
            Ok((name, value))
        });
        Ok(FitOutput {
            facts: facts.collect::<Result<_>>()?,
            ..FitOutput::default()
        })
    }
}

#[cfg(test)]
#[path = "fill_missing_tests.rs"]
mod tests;
