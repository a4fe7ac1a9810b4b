//! Mapping from encoded to original ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{cast, sort_to_indices};
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use xxhash_rust::xxh3::xxh3_64;

use towline_api::{Column, NULL_ID, OperatorError, Result, Vocabulary, VocabularyTable};

/// Decodes the ids of a column; without a vocabulary, ids are original ids already.
#[derive(Debug, Clone)]
pub(crate) struct IdMapping(Option<Arc<VocabularyTable>>);

impl IdMapping {
    /// The mapping of `column`, from the vocabularies of its dataset.
    pub(crate) fn of(column: &Column, vocabularies: &BTreeMap<String, Vocabulary>) -> Result<Self> {
        let Some(digest) = column.domain.as_ref().and_then(|domain| domain.vocabulary.as_ref()) else {
            return Ok(IdMapping(None));
        };
        let vocabulary = vocabularies
            .get(digest)
            .ok_or_else(|| OperatorError::internal(format!("the dataset has no vocabulary of `{}`", column.name)))?;
        Ok(IdMapping(Some(vocabulary.load()?)))
    }

    /// Whether the id is reserved: padding, null or an out-of-vocabulary bucket.
    pub(crate) fn is_reserved(&self, id: i64) -> bool {
        id < self.0.as_ref().map_or(NULL_ID, |table| table.first_value_id())
    }

    /// The first id of the vocabulary and its values in order of ids; `None` without a vocabulary.
    pub(crate) fn values(&self) -> Option<(i64, ArrayRef)> {
        let table = self.0.as_ref()?;
        // The value of id `r + 1` is in row `r`.
        let first = table.first_value_id();
        let values = table.values();
        let start = (first - 1) as usize;
        Some((first, values.slice(start, values.len() - start)))
    }

    /// Decodes ids.
    pub(crate) fn decode(&self, ids: &[i64]) -> Result<ArrayRef> {
        match &self.0 {
            Some(table) => table.decode(ids),
            None => Ok(Arc::new(Int64Array::from(ids.to_vec()))),
        }
    }

    /// The permutation that sorts `ids` by original id.
    pub(crate) fn ascending(&self, ids: &[i64]) -> Result<Vec<usize>> {
        let original = self.decode(ids)?;
        if original.null_count() > 0 {
            return Err(OperatorError::invalid("an id is not in its vocabulary"));
        }
        Ok(sort_to_indices(&original, None, None)?
            .values()
            .iter()
            .map(|&place| place as usize)
            .collect())
    }
}

/// An integer per original id: the id itself if it is an integer, else a hash of its text; 0 for null.
pub(crate) fn numbers(original: &ArrayRef) -> Result<Vec<u64>> {
    if original.data_type().is_integer() {
        let wide = cast(
            original,
            if original.data_type().is_unsigned_integer() {
                &DataType::UInt64
            } else {
                &DataType::Int64
            },
        )?;
        return Ok(match wide.as_primitive_opt::<UInt64Type>() {
            Some(ids) => ids.iter().map(Option::unwrap_or_default).collect(),
            None => wide
                .as_primitive::<Int64Type>()
                .iter()
                .map(|id| id.unwrap_or_default() as u64)
                .collect(),
        });
    }
    let text = cast(original, &DataType::Utf8)?;
    let text = text
        .as_string_opt::<i32>()
        .ok_or_else(|| OperatorError::internal("the ids cannot be converted to text"))?;
    Ok(text
        .iter()
        .map(|id| id.map_or(0, |id| xxh3_64(id.as_bytes())))
        .collect())
}

/// The static type of a column's original ids: that of its domain's values, or its own.
pub(crate) fn original_type(column: Option<&Column>) -> DataType {
    let values = column.and_then(|column| column.domain.as_ref()?.values.clone());
    values.unwrap_or(DataType::Int64)
}
