//! Time decay of interactions.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use towline_api::{Cancel, Code, OperatorError, Problem, Result, Schema, TableFile};

/// Exponential time decay: an interaction has the weight `0.5 ^ (age / half_life)`, where the latest one has age 0.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeDecay {
    /// Time column: a timestamp, a date or a number, for example `timestamp`.
    pub column: String,
    /// Half-life: the age at which an interaction has half the weight, in the unit of `column` if that is numeric, else
    /// in seconds (`604800` for a week).
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub half_life: f64,
}

impl TimeDecay {
    /// A problem if the column is unknown or is not a time.
    pub(crate) fn problem(&self, schema: &Schema) -> Option<Problem> {
        if !(self.half_life.is_finite() && self.half_life > 0.0) {
            return Some(Problem::new(Code::OutOfRange, "the half-life must be more than 0").at("recency"));
        }
        let Some(column) = schema.get(&self.column) else {
            return Some(Problem::unknown_column(&self.column, schema).at("recency"));
        };
        let time = column.data_type.is_numeric() || column.data_type.is_temporal();
        let text = format!("`{}` ({}) is not a time", column.name, column.data_type);
        (!time).then(|| Problem::new(Code::BadInput, text).at("recency"))
    }

    /// The weights of the rows of these tables.
    pub(crate) fn weights<'a>(
        &self,
        tables: impl IntoIterator<Item = &'a TableFile>,
        cancel: &Cancel,
    ) -> Result<Vec<f64>> {
        let mut times: Vec<f64> = Vec::new();
        for table in tables {
            for batch in table.batches(Some(&[&self.column]))? {
                cancel.check()?;
                let batch = batch?;
                let column = batch.column_by_name(&self.column);
                let column =
                    column.ok_or_else(|| OperatorError::internal(format!("there is no column `{}`", self.column)))?;
                let first = times.len();
                times.extend(seconds(column)?);
                if let Some(row) = times[first..].iter().position(|time| !time.is_finite()) {
                    let text = format!(
                        "`{}` is null in row {}: drop rows without a time first",
                        self.column,
                        first + row
                    );
                    return Err(OperatorError::invalid(text));
                }
            }
        }
        let latest = times.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weight = |time: f64| 0.5_f64.powf((latest - time) / self.half_life);
        Ok(times.into_iter().map(weight).collect())
    }
}

/// Numbers unchanged, times in seconds; NaN for null.
fn seconds(column: &ArrayRef) -> Result<Vec<f64>> {
    if column.data_type().is_numeric() {
        let numbers = cast(column, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>();
        return Ok(numbers.iter().map(|x| x.unwrap_or(f64::NAN)).collect());
    }
    let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let micros = cast(&micros, &DataType::Int64)?;
    let micros = micros.as_primitive::<Int64Type>();
    let seconds = (0..micros.len()).map(|row| {
        let valid = micros.is_valid(row);
        if valid {
            micros.value(row) as f64 / 1e6
        } else {
            f64::NAN
        }
    });
    Ok(seconds.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, TimestampSecondArray};

    use super::*;

    #[test]
    fn times_of_any_kind_are_seconds() {
        let stamps: ArrayRef = Arc::new(TimestampSecondArray::from(vec![Some(60), None]));
        let found = seconds(&stamps).unwrap();
        assert!(found[0] == 60.0 && found[1].is_nan());
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![7]));
        assert_eq!(seconds(&numbers).unwrap(), [7.0]);
    }
}
