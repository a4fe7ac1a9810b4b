//! Sample weights of interactions.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};
use arrow::error::ArrowError;

use towline_api::{Code, OperatorError, Problem, Result, Schema, TableFile, Tag};

/// A problem if the column `name` cannot be used as sample weights.
pub(crate) fn problem(name: &str, schema: &Schema) -> Option<Problem> {
    let Some(column) = schema.get(name) else {
        return Some(Problem::unknown_column(name, schema).at("sample_weight"));
    };
    let text = if !column.data_type.is_numeric() {
        format!("`{name}` ({}) is not a numeric column", column.data_type)
    } else if column.has(&[Tag::User]) || column.has(&[Tag::Item]) {
        format!("`{name}` is a feature of a tower; a sample weight must not be one: remove its tags")
    } else {
        return None;
    };
    Some(Problem::new(Code::BadInput, text).at("sample_weight"))
}

/// Sample weights of the rows of tables, batch by batch.
pub(crate) struct SampleWeights<'a> {
    name: &'a str,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + 'a>,
    /// Rows before the next batch.
    before: usize,
}

impl<'a> SampleWeights<'a> {
    /// Reads the column `name`.
    pub(crate) fn of(tables: Vec<&'a TableFile>, name: &'a str) -> Result<Self> {
        let readers = tables.into_iter().map(|table| table.batches(Some(&[name])));
        let readers = readers.collect::<Result<Vec<_>>>()?;
        Ok(SampleWeights {
            name,
            batches: Box::new(readers.into_iter().flatten()),
            before: 0,
        })
    }

    /// The weights of the next batch, which has `rows` rows.
    pub(crate) fn take(&mut self, rows: usize) -> Result<Vec<f32>> {
        let name = self.name;
        let Some(batch) = self.batches.next() else {
            return Err(OperatorError::internal(format!(
                "`{name}` has fewer rows than the other columns"
            )));
        };
        let batch = batch?;
        let column = batch.column_by_name(name).filter(|column| column.len() == rows);
        let column = column.ok_or_else(|| OperatorError::internal(format!("there is no column `{name}`")))?;
        let numbers = cast(column, &DataType::Float32)?;
        let numbers = numbers.as_primitive::<Float32Type>().iter();
        let weights: Vec<f32> = numbers.map(|weight| weight.unwrap_or(f32::NAN)).collect();
        if let Some(row) = weights
            .iter()
            .position(|weight| !(weight.is_finite() && *weight >= 0.0))
        {
            let text = format!(
                "`{name}` is not a valid sample weight in row {}: it is null, negative or not finite",
                self.before + row
            );
            return Err(OperatorError::invalid(text));
        }
        self.before += rows;
        Ok(weights)
    }
}
