//! Input features of a tower, column by column: ids or dense features.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};

use crate::data::dense_features::{DenseFeatures, lists};
use towline_api::{Column, OperatorError, Result, Tag};

/// Input types of a tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeatureKind {
    /// Encoded categories, or lists of them.
    IdFeatures,
    /// One number per row.
    Number,
    /// Lists of numbers of equal length.
    Vector,
}

impl FeatureKind {
    /// The input type of a column, or `None` if a tower cannot read it. A number must have the tag `continuous`, so
    /// that an id that was not encoded is not read as a number.
    pub(crate) fn of(column: &Column) -> Option<Self> {
        let element = column.element_type();
        if column.is_list() {
            let of_ids = matches!(column.data_type, DataType::List(_)) && element == &DataType::Int64;
            return match element {
                _ if of_ids && column.domain.is_some() => Some(FeatureKind::IdFeatures),
                element if element.is_floating() => Some(FeatureKind::Vector),
                _ => None,
            };
        }
        if element == &DataType::Int64 && column.domain.is_some() {
            return Some(FeatureKind::IdFeatures);
        }
        let number = element.is_integer() || element.is_floating();
        (number && column.has(&[Tag::Continuous])).then_some(FeatureKind::Number)
    }
}

/// The ids of an encoded column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum IdFeatures {
    /// One id per row.
    Single(Vec<i64>),
    /// Lists of ids: row `r` is `values[offsets[r]..offsets[r + 1]]`.
    Lists {
        /// Start of each row, and the end of the last one.
        offsets: Vec<usize>,
        /// Concatenated ids.
        values: Vec<i64>,
    },
}

impl IdFeatures {
    fn empty(list: bool) -> Self {
        if list {
            IdFeatures::Lists {
                offsets: vec![0],
                values: Vec::new(),
            }
        } else {
            IdFeatures::Single(Vec::new())
        }
    }

    /// The ids of a row.
    pub(crate) fn row(&self, row: usize) -> &[i64] {
        match self {
            IdFeatures::Single(ids) => &ids[row..=row],
            IdFeatures::Lists { offsets, values } => &values[offsets[row]..offsets[row + 1]],
        }
    }

    fn extend(&mut self, other: &Self) -> Result<()> {
        match (self, other) {
            (IdFeatures::Single(ids), IdFeatures::Single(more)) => ids.extend_from_slice(more),
            (
                IdFeatures::Lists { offsets, values },
                IdFeatures::Lists {
                    offsets: more_offsets,
                    values: more,
                },
            ) => {
                let before = values.len();
                offsets.extend(more_offsets[1..].iter().map(|offset| before + offset));
                values.extend_from_slice(more);
            }
            _ => {
                return Err(OperatorError::internal(
                    "a column of lists cannot be joined with a column of single ids",
                ));
            }
        }
        Ok(())
    }

    fn select(&self, rows: &[usize]) -> Self {
        match self {
            IdFeatures::Single(ids) => IdFeatures::Single(rows.iter().map(|&row| ids[row]).collect()),
            IdFeatures::Lists { .. } => {
                let mut offsets = vec![0];
                let mut values = Vec::new();
                for &row in rows {
                    values.extend_from_slice(self.row(row));
                    offsets.push(values.len());
                }
                IdFeatures::Lists { offsets, values }
            }
        }
    }

    /// Appends an array without a check of the domain; returns the index of the first new id.
    fn push(&mut self, array: &ArrayRef, name: &str) -> Result<usize> {
        let wrong = || OperatorError::invalid(format!("`{name}` does not hold encoded ids without nulls"));
        let whole = |array: &ArrayRef| {
            let ids = array
                .as_primitive_opt::<Int64Type>()
                .filter(|ids| ids.null_count() == 0);
            ids.cloned().ok_or_else(wrong)
        };
        match self {
            IdFeatures::Single(ids) => {
                let before = ids.len();
                ids.extend_from_slice(whole(array)?.values());
                Ok(before)
            }
            IdFeatures::Lists { offsets, values } => {
                let lists = array.as_list_opt::<i32>().ok_or_else(wrong)?;
                let before = values.len();
                for row in 0..lists.len() {
                    if lists.is_valid(row) {
                        values.extend_from_slice(whole(&lists.value(row))?.values());
                    }
                    offsets.push(values.len());
                }
                Ok(before)
            }
        }
    }

    fn append(&mut self, array: &ArrayRef, column: &Column) -> Result<()> {
        let before = self.push(array, &column.name)?;
        let (IdFeatures::Single(values) | IdFeatures::Lists { values, .. }) = self;
        // An id outside the domain would be read beyond the embedding table.
        let size = column
            .domain
            .as_ref()
            .and_then(|domain| domain.size)
            .map_or(i64::MAX, |size| size as i64);
        match values[before..].iter().find(|&&id| id < 0 || id >= size) {
            Some(id) => {
                let name = &column.name;
                Err(OperatorError::invalid(format!(
                    "`{name}` holds the id {id}, but its domain has the ids 0 to {}",
                    size - 1
                )))
            }
            None => Ok(()),
        }
    }

    fn to_arrow(&self) -> Result<ArrayRef> {
        Ok(match self {
            IdFeatures::Single(ids) => Arc::new(Int64Array::from(ids.clone())),
            IdFeatures::Lists { offsets, values } => {
                let lengths = offsets.windows(2).map(|pair| pair[1] - pair[0]);
                lists(DataType::Int64, lengths, Arc::new(Int64Array::from(values.clone())))?
            }
        })
    }
}

/// A feature column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FeatureColumn {
    /// Categorical ids.
    IdFeatures(IdFeatures),
    /// Dense features.
    Dense(DenseFeatures),
}

impl FeatureColumn {
    /// A column without rows.
    pub(crate) fn empty(column: &Column) -> Self {
        match FeatureKind::of(column) {
            Some(FeatureKind::Number) => FeatureColumn::Dense(DenseFeatures::empty(false)),
            Some(FeatureKind::Vector) => FeatureColumn::Dense(DenseFeatures::empty(true)),
            Some(FeatureKind::IdFeatures) | None => FeatureColumn::IdFeatures(IdFeatures::empty(column.is_list())),
        }
    }

    /// Appends an Arrow array, after checking it against the column.
    pub(crate) fn append(&mut self, array: &ArrayRef, column: &Column) -> Result<()> {
        match self {
            FeatureColumn::IdFeatures(ids) => ids.append(array, column),
            FeatureColumn::Dense(numbers) => numbers.append(array, &column.name),
        }
    }

    /// Appends the column `name` of another table.
    pub(crate) fn extend(&mut self, other: &Self, name: &str) -> Result<()> {
        match (self, other) {
            (FeatureColumn::IdFeatures(ids), FeatureColumn::IdFeatures(more)) => ids.extend(more),
            (FeatureColumn::Dense(numbers), FeatureColumn::Dense(more)) => numbers.extend(more, name),
            _ => Err(OperatorError::internal(format!(
                "`{name}` holds ids in one table and numbers in another"
            ))),
        }
    }

    /// Selects rows in the given order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        match self {
            FeatureColumn::IdFeatures(ids) => FeatureColumn::IdFeatures(ids.select(rows)),
            FeatureColumn::Dense(numbers) => FeatureColumn::Dense(numbers.select(rows)),
        }
    }

    /// Whether row `a` equals row `b` of `other`.
    pub(crate) fn same(&self, a: usize, other: &Self, b: usize) -> bool {
        match (self, other) {
            (FeatureColumn::IdFeatures(x), FeatureColumn::IdFeatures(y)) => x.row(a) == y.row(b),
            (FeatureColumn::Dense(x), FeatureColumn::Dense(y)) => x.row(a) == y.row(b),
            _ => false,
        }
    }

    /// Appends a row to a key: ids preceded by their number, or the bits of the numbers.
    pub(crate) fn add_to_key(&self, row: usize, key: &mut Vec<i64>) {
        match self {
            FeatureColumn::IdFeatures(ids) => {
                let ids = ids.row(row);
                key.push(ids.len() as i64);
                key.extend_from_slice(ids);
            }
            FeatureColumn::Dense(numbers) => key.extend(numbers.row(row).iter().map(|x| i64::from(x.to_bits()))),
        }
    }

    /// Memory use in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            FeatureColumn::IdFeatures(IdFeatures::Single(ids)) => 8 * ids.len(),
            FeatureColumn::IdFeatures(IdFeatures::Lists { offsets, values }) => 8 * (offsets.len() + values.len()),
            FeatureColumn::Dense(numbers) => 4 * numbers.values.len(),
        }
    }

    /// Keeps the first `rows` rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match self {
            FeatureColumn::IdFeatures(IdFeatures::Single(ids)) => ids.truncate(rows),
            FeatureColumn::IdFeatures(IdFeatures::Lists { offsets, values }) => {
                offsets.truncate(rows + 1);
                values.truncate(offsets.last().copied().unwrap_or(0));
            }
            FeatureColumn::Dense(numbers) => numbers.values.truncate(rows * numbers.width),
        }
    }

    /// Appends an array that [`Self::to_arrow`] made of a column of the same type.
    pub(crate) fn append_stored(&mut self, array: &ArrayRef, name: &str) -> Result<()> {
        match self {
            FeatureColumn::IdFeatures(ids) => ids.push(array, name).map(|_| ()),
            FeatureColumn::Dense(numbers) => numbers.append(array, name),
        }
    }

    /// Converts `rows` rows to an Arrow array.
    pub(crate) fn to_arrow(&self, rows: usize) -> Result<ArrayRef> {
        match self {
            FeatureColumn::IdFeatures(ids) => ids.to_arrow(),
            FeatureColumn::Dense(numbers) => numbers.to_arrow(rows),
        }
    }
}
