//! Decoder: encoded columns back to their original values, so that ids are published as they came.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, OffsetSizeTrait};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};

use towline_api::{DatasetFiles, PADDING_ID, Result, VocabularyTable};

/// Decoded column.
pub(crate) struct Decoded {
    /// Original values; null for reserved ids.
    pub(crate) values: ArrayRef,
    /// Number of reserved ids (padding, null, out of vocabulary) and of ids beyond the vocabulary.
    pub(crate) reserved: u64,
}

/// Decoder of one column.
pub(crate) struct Decoder {
    table: Arc<VocabularyTable>,
}

impl Decoder {
    /// Decoder of the column `name`; `None` if the column has no vocabulary.
    pub(crate) fn of(dataset: &DatasetFiles, name: &str) -> Result<Option<Self>> {
        dataset
            .vocabulary_of(name)
            .map(|vocabulary| {
                Ok(Decoder {
                    table: vocabulary.load()?,
                })
            })
            .transpose()
    }

    /// Arrow type of the decoded column, for an encoded column of type `encoded`.
    pub(crate) fn data_type(&self, encoded: &DataType) -> DataType {
        match encoded {
            DataType::List(field) => DataType::List(self.element(field)),
            DataType::LargeList(field) => DataType::LargeList(self.element(field)),
            DataType::FixedSizeList(field, size) => DataType::FixedSizeList(self.element(field), *size),
            _ => self.table.values().data_type().clone(),
        }
    }

    /// Decodes a column; lists are decoded element by element.
    pub(crate) fn decode(&self, column: &ArrayRef) -> Result<Decoded> {
        match column.data_type() {
            DataType::List(field) => self.list(column.as_list::<i32>(), field),
            DataType::LargeList(field) => self.list(column.as_list::<i64>(), field),
            DataType::FixedSizeList(field, size) => {
                let list = column.as_fixed_size_list();
                let inner = self.flat(list.values())?;
                let decoded =
                    FixedSizeListArray::try_new(self.element(field), *size, inner.values, list.nulls().cloned())?;
                Ok(Decoded {
                    values: Arc::new(decoded),
                    reserved: inner.reserved,
                })
            }
            _ => self.flat(column),
        }
    }

    fn list<O: OffsetSizeTrait>(&self, list: &GenericListArray<O>, field: &FieldRef) -> Result<Decoded> {
        let inner = self.flat(list.values())?;
        let decoded = GenericListArray::<O>::try_new(
            self.element(field),
            list.offsets().clone(),
            inner.values,
            list.nulls().cloned(),
        )?;
        Ok(Decoded {
            values: Arc::new(decoded),
            reserved: inner.reserved,
        })
    }

    fn flat(&self, column: &ArrayRef) -> Result<Decoded> {
        let ids = cast(column, &DataType::Int64)?;
        let ids = ids.as_primitive::<Int64Type>();
        let known = self.table.first_value_id()..self.table.size() as i64;
        let reserved = ids.iter().flatten().filter(|id| !known.contains(id)).count() as u64;
        let ids: Vec<i64> = ids.iter().map(|id| id.unwrap_or(PADDING_ID)).collect();
        Ok(Decoded {
            values: self.table.decode(&ids)?,
            reserved,
        })
    }

    fn element(&self, encoded: &Field) -> FieldRef {
        Arc::new(Field::new(
            encoded.name(),
            self.table.values().data_type().clone(),
            true,
        ))
    }
}
