//! Reads ids from any table: encoded like the model's, or original ids.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};

use crate::data::id_mapping::{IdMapping, original_type};
use crate::data::tower_columns::mismatches;
use crate::model::stored_model::tables;
use towline_api::{Cancel, Code, Column, DatasetFiles, OperatorError, Problem, Result, Schema};

/// A problem if the dataset on `port` has no ids for `wanted`, a column of the model. The column of that name must have
/// the model's encoding, or original ids of any integer or text type.
pub(crate) fn id_problem(wanted: Option<&Column>, schema: &Schema, port: &str) -> Option<Problem> {
    let wanted = wanted?;
    let found = schema.get(&wanted.name);
    if found.is_some_and(|column| column.domain.is_none() && wanted.domain.is_some()) {
        let (original, found) = (original_type(Some(wanted)), &found?.data_type);
        if is_text(&original) && is_text(found) || original.is_integer() && found.is_integer() {
            return None;
        }
        let message = format!("`{}` is {found}, but the ids of the model are {original}", wanted.name);
        return Some(Problem::new(Code::BadInput, message).at_port(port));
    }
    mismatches(&[wanted], schema, port).into_iter().next()
}

pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Maps original ids to encoded ids.
#[derive(Debug)]
pub(crate) enum IdEncoder {
    /// Ids are not encoded.
    Same,
    /// Integer ids.
    Whole(HashMap<i128, i64>),
    /// Text ids.
    Text(HashMap<String, i64>),
}

impl IdEncoder {
    /// The inverse of `originals`.
    pub(crate) fn new(originals: &IdMapping) -> Result<Self> {
        let Some((first, values)) = originals.values() else {
            return Ok(IdEncoder::Same);
        };
        let ids = first..;
        if values.data_type().is_integer() {
            let known = whole_numbers(&values)?.into_iter().zip(ids);
            return Ok(IdEncoder::Whole(
                known.filter_map(|(value, id)| Some((value?, id))).collect(),
            ));
        }
        let known = texts(&values)?.into_iter().zip(ids);
        Ok(IdEncoder::Text(
            known.filter_map(|(value, id)| Some((value?, id))).collect(),
        ))
    }

    /// Encodes original ids; `None` for unknown ids.
    pub(crate) fn encode(&self, original: &ArrayRef) -> Result<Vec<Option<i64>>> {
        Ok(match self {
            IdEncoder::Same => {
                let values = whole_numbers(original)?;
                values
                    .into_iter()
                    .map(|id| id.and_then(|id| i64::try_from(id).ok()))
                    .collect()
            }
            IdEncoder::Whole(ids) => {
                let values = whole_numbers(original)?;
                values.into_iter().map(|id| ids.get(&id?).copied()).collect()
            }
            IdEncoder::Text(ids) => {
                let values = texts(original)?;
                values.into_iter().map(|id| ids.get(id?.as_str()).copied()).collect()
            }
        })
    }
}

fn whole_numbers(values: &ArrayRef) -> Result<Vec<Option<i128>>> {
    if *values.data_type() == DataType::UInt64 {
        let values = values.as_primitive::<UInt64Type>();
        return Ok(values.iter().map(|value| value.map(i128::from)).collect());
    }
    if !values.data_type().is_integer() {
        return Err(OperatorError::invalid(format!(
            "ids of the type {} cannot be looked up among whole numbers",
            values.data_type()
        )));
    }
    let values = cast(values, &DataType::Int64)?;
    Ok(values
        .as_primitive::<Int64Type>()
        .iter()
        .map(|value| value.map(i128::from))
        .collect())
}

/// The values of a column as text.
pub(crate) fn texts(values: &ArrayRef) -> Result<Vec<Option<String>>> {
    let values = cast(values, &DataType::Utf8)?;
    let values = values.as_string_opt::<i32>();
    let values = values.ok_or_else(|| OperatorError::internal("the values cannot be converted to text"))?;
    Ok(values.iter().map(|value| value.map(str::to_owned)).collect())
}

/// Reads id columns of a dataset batch by batch.
pub(crate) struct IdReader<'a> {
    dataset: &'a DatasetFiles,
    port: &'a str,
    columns: Vec<(String, Option<IdEncoder>)>,
    beside: Vec<String>,
}

impl<'a> IdReader<'a> {
    pub(crate) fn new(dataset: &'a DatasetFiles, port: &'a str) -> Self {
        IdReader {
            dataset,
            port,
            columns: Vec::new(),
            beside: Vec::new(),
        }
    }

    /// Also reads this column of the dataset, unchanged.
    pub(crate) fn beside(&mut self, column: &str) {
        self.beside.push(column.to_owned());
    }

    /// Also reads this column of the model.
    pub(crate) fn column(&mut self, wanted: Option<&Column>, originals: &IdMapping) -> Result<()> {
        let wanted = wanted.ok_or_else(|| OperatorError::internal("the model has no id columns"))?;
        if let Some(problem) = id_problem(Some(wanted), &self.dataset.schema, self.port) {
            return Err(OperatorError::invalid(format!("{}: {}", self.port, problem.message)));
        }
        let original = self
            .dataset
            .schema
            .get(&wanted.name)
            .is_some_and(|column| column.domain.is_none() && wanted.domain.is_some());
        let lookup = if original {
            Some(IdEncoder::new(originals)?)
        } else {
            None
        };
        self.columns.push((wanted.name.clone(), lookup));
        Ok(())
    }

    /// Whether the first column is already encoded.
    pub(crate) fn is_encoded(&self) -> bool {
        self.columns.first().is_some_and(|(_, lookup)| lookup.is_none())
    }

    /// Calls back with each batch and the encoded ids of the columns: `None` for null and unknown ids.
    pub(crate) fn scan(
        &self,
        split: Option<&str>,
        cancel: &Cancel,
        mut each: impl FnMut(&RecordBatch, &[Vec<Option<i64>>]) -> Result<()>,
    ) -> Result<()> {
        let names = self.columns.iter().map(|(name, _)| name).chain(&self.beside);
        let names: Vec<&str> = names.map(String::as_str).collect();
        for table in tables(self.dataset, split)? {
            for batch in table.batches(Some(&names))? {
                cancel.check()?;
                let batch = batch?;
                let ids = self.columns.iter().map(|(name, lookup)| {
                    let missing = || OperatorError::internal(format!("there is no column `{name}`"));
                    let array = batch.column_by_name(name).ok_or_else(missing)?;
                    lookup.as_ref().unwrap_or(&IdEncoder::Same).encode(array)
                });
                let ids = ids.collect::<Result<Vec<_>>>()?;
                each(&batch, &ids)?;
            }
        }
        Ok(())
    }
}
