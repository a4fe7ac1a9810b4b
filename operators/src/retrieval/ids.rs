//! From encoded ids back to the ids that the user knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::compute::sort_to_indices;
use arrow::datatypes::DataType;

use crate::contract::{Column, NULL_ID, OperatorError, Result, Vocabulary, VocabularyTable};

/// What the ids of a column stand for; a column without a vocabulary holds original ids already.
#[derive(Debug, Clone)]
pub(crate) struct Originals(Option<Arc<VocabularyTable>>);

impl Originals {
    /// The vocabulary of `column`, among those of its artifact.
    pub(crate) fn of(column: &Column, vocabularies: &BTreeMap<String, Vocabulary>) -> Result<Self> {
        let Some(digest) = column.domain.as_ref().and_then(|domain| domain.vocabulary.as_ref()) else {
            return Ok(Originals(None));
        };
        let vocabulary = vocabularies.get(digest).ok_or_else(|| {
            OperatorError::invalid(format!("the vocabulary of `{}` did not come with its ids", column.name))
        })?;
        Ok(Originals(Some(vocabulary.load()?)))
    }

    /// Of a column that holds original ids already.
    #[cfg(test)]
    pub(crate) fn without_vocabulary() -> Self {
        Originals(None)
    }

    /// Whether the id stands for padding, null or an out-of-vocabulary bucket.
    pub(crate) fn is_reserved(&self, id: i64) -> bool {
        id < self.0.as_ref().map_or(NULL_ID, |table| table.first_value_id())
    }

    /// The original ids, in the given order.
    pub(crate) fn decode(&self, ids: &[i64]) -> Result<ArrayRef> {
        match &self.0 {
            Some(table) => table.decode(ids),
            None => Ok(Arc::new(Int64Array::from(ids.to_vec()))),
        }
    }

    /// The order in which original ids ascend: places in `ids`.
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

/// The type of a column's original ids, without data: that of the values of its domain, or its own.
pub(crate) fn original_type(column: Option<&Column>) -> DataType {
    let values = column.and_then(|column| column.domain.as_ref()?.values.clone());
    values.unwrap_or(DataType::Int64)
}
