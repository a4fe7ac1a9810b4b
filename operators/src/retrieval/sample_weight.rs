//! What single interactions count for.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};

use crate::contract::{Cancel, OperatorError, Problem, Result, Schema, TableFile, Tag};

/// What stands against the column `name` as weights.
pub(crate) fn problem(name: &str, schema: &Schema) -> Option<Problem> {
    let Some(column) = schema.get(name) else {
        return Some(Problem::unknown_column(name, schema).at("sample_weight"));
    };
    let text = if !column.data_type.is_numeric() {
        format!("`{name}` ({}) is no column of numbers", column.data_type)
    } else if column.has(&[Tag::User]) || column.has(&[Tag::Item]) {
        format!("`{name}` is a column of a tower; a weight is none")
    } else {
        return None;
    };
    Some(Problem::new("bad-input", text).at("sample_weight"))
}

/// The weights of the rows of these tables.
pub(crate) fn read<'a>(
    tables: impl IntoIterator<Item = &'a TableFile>,
    name: &str,
    cancel: &Cancel,
) -> Result<Vec<f32>> {
    let mut weights = Vec::new();
    for table in tables {
        for batch in table.batches(Some(&[name]))? {
            cancel.check()?;
            let batch = batch?;
            let column = batch.column_by_name(name);
            let column = column.ok_or_else(|| OperatorError::invalid(format!("there is no column `{name}`")))?;
            let numbers = cast(column, &DataType::Float32)?;
            let first = weights.len();
            weights.extend(
                numbers
                    .as_primitive::<Float32Type>()
                    .iter()
                    .map(|weight| weight.unwrap_or(f32::NAN)),
            );
            if let Some(row) = weights[first..]
                .iter()
                .position(|weight| !(weight.is_finite() && *weight >= 0.0))
            {
                let text = format!(
                    "`{name}` cannot be a weight in row {}: it is null, negative or not finite",
                    first + row
                );
                return Err(OperatorError::invalid(text));
            }
        }
    }
    Ok(weights)
}
