//! Input features of a tower, column by column: ids or dense features.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};

use crate::data::dense_features::{Numbers, lists};
use crate::data::row_blocks::{many, one};
use towline_api::{Column, OperatorError, Result, Tag};

/// Input types of a tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Encoded categories, or lists of them.
    Ids,
    /// One number per row.
    Number,
    /// Lists of numbers of equal length.
    Vector,
}

impl Kind {
    /// The input type of a column, or `None` if a tower cannot read it. A number must have the tag `continuous`, so
    /// that an id that was not encoded is not read as a number.
    pub(crate) fn of(column: &Column) -> Option<Self> {
        let element = column.element_type();
        if column.is_list() {
            let of_ids = matches!(column.data_type, DataType::List(_)) && element == &DataType::Int64;
            return match element {
                _ if of_ids && column.domain.is_some() => Some(Kind::Ids),
                element if element.is_floating() => Some(Kind::Vector),
                _ => None,
            };
        }
        if element == &DataType::Int64 && column.domain.is_some() {
            return Some(Kind::Ids);
        }
        let number = element.is_integer() || element.is_floating();
        (number && column.has(&[Tag::Continuous])).then_some(Kind::Number)
    }
}

/// The ids of an encoded column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ids {
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

impl Ids {
    fn empty(list: bool) -> Self {
        if list {
            Ids::Lists {
                offsets: vec![0],
                values: Vec::new(),
            }
        } else {
            Ids::Single(Vec::new())
        }
    }

    /// The ids of a row.
    pub(crate) fn row(&self, row: usize) -> &[i64] {
        match self {
            Ids::Single(ids) => &ids[row..=row],
            Ids::Lists { offsets, values } => &values[offsets[row]..offsets[row + 1]],
        }
    }

    fn extend(&mut self, other: &Self) -> Result<()> {
        match (self, other) {
            (Ids::Single(ids), Ids::Single(more)) => ids.extend_from_slice(more),
            (
                Ids::Lists { offsets, values },
                Ids::Lists {
                    offsets: more_offsets,
                    values: more,
                },
            ) => {
                let before = values.len();
                offsets.extend(more_offsets[1..].iter().map(|offset| before + offset));
                values.extend_from_slice(more);
            }
            _ => {
                return Err(OperatorError::invalid(
                    "a column of lists cannot be joined with a column of single ids",
                ));
            }
        }
        Ok(())
    }

    fn select(&self, rows: &[usize]) -> Self {
        match self {
            Ids::Single(ids) => Ids::Single(rows.iter().map(|&row| ids[row]).collect()),
            Ids::Lists { .. } => {
                let mut offsets = vec![0];
                let mut values = Vec::new();
                for &row in rows {
                    values.extend_from_slice(self.row(row));
                    offsets.push(values.len());
                }
                Ids::Lists { offsets, values }
            }
        }
    }

    fn append(&mut self, array: &ArrayRef, column: &Column) -> Result<()> {
        let wrong = || OperatorError::invalid(format!("`{}` does not hold encoded ids without nulls", column.name));
        let before = match self {
            Ids::Single(ids) => {
                let array = array
                    .as_primitive_opt::<Int64Type>()
                    .filter(|a| a.null_count() == 0)
                    .ok_or_else(wrong)?;
                let before = ids.len();
                ids.extend_from_slice(array.values());
                before
            }
            Ids::Lists { offsets, values } => {
                let lists = array.as_list_opt::<i32>().ok_or_else(wrong)?;
                let before = values.len();
                for row in 0..lists.len() {
                    if lists.is_valid(row) {
                        let list = lists.value(row);
                        let ids = list.as_primitive_opt::<Int64Type>().filter(|a| a.null_count() == 0);
                        values.extend_from_slice(ids.ok_or_else(wrong)?.values());
                    }
                    offsets.push(values.len());
                }
                before
            }
        };
        let (Ids::Single(values) | Ids::Lists { values, .. }) = self;
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
            Ids::Single(ids) => Arc::new(Int64Array::from(ids.clone())),
            Ids::Lists { offsets, values } => {
                let lengths = offsets.windows(2).map(|pair| pair[1] - pair[0]);
                lists(DataType::Int64, lengths, Arc::new(Int64Array::from(values.clone())))?
            }
        })
    }
}

/// A feature column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cells {
    /// Categorical ids.
    Ids(Ids),
    /// Dense features.
    Numbers(Numbers),
}

impl Cells {
    /// A column without rows.
    pub(crate) fn empty(column: &Column) -> Self {
        match Kind::of(column) {
            Some(Kind::Number) => Cells::Numbers(Numbers::empty(false)),
            Some(Kind::Vector) => Cells::Numbers(Numbers::empty(true)),
            Some(Kind::Ids) | None => Cells::Ids(Ids::empty(column.is_list())),
        }
    }

    /// Appends an Arrow array, after checking it against the column.
    pub(crate) fn append(&mut self, array: &ArrayRef, column: &Column) -> Result<()> {
        match self {
            Cells::Ids(ids) => ids.append(array, column),
            Cells::Numbers(numbers) => numbers.append(array, column),
        }
    }

    /// Appends the column `name` of another table.
    pub(crate) fn extend(&mut self, other: &Self, name: &str) -> Result<()> {
        match (self, other) {
            (Cells::Ids(ids), Cells::Ids(more)) => ids.extend(more),
            (Cells::Numbers(numbers), Cells::Numbers(more)) => numbers.extend(more, name),
            _ => Err(OperatorError::invalid(format!(
                "`{name}` holds ids in one table and numbers in another"
            ))),
        }
    }

    /// Selects rows in the given order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        match self {
            Cells::Ids(ids) => Cells::Ids(ids.select(rows)),
            Cells::Numbers(numbers) => Cells::Numbers(numbers.select(rows)),
        }
    }

    /// Whether row `a` equals row `b` of `other`.
    pub(crate) fn same(&self, a: usize, other: &Self, b: usize) -> bool {
        match (self, other) {
            (Cells::Ids(x), Cells::Ids(y)) => x.row(a) == y.row(b),
            (Cells::Numbers(x), Cells::Numbers(y)) => x.row(a) == y.row(b),
            _ => false,
        }
    }

    /// Appends a row to a key: ids preceded by their number, or the bits of the numbers.
    pub(crate) fn add_to_key(&self, row: usize, key: &mut Vec<i64>) {
        match self {
            Cells::Ids(ids) => {
                let ids = ids.row(row);
                key.push(ids.len() as i64);
                key.extend_from_slice(ids);
            }
            Cells::Numbers(numbers) => key.extend(numbers.row(row).iter().map(|x| i64::from(x.to_bits()))),
        }
    }

    /// Memory use in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Cells::Ids(Ids::Single(ids)) => 8 * ids.len(),
            Cells::Ids(Ids::Lists { offsets, values }) => 8 * (offsets.len() + values.len()),
            Cells::Numbers(numbers) => 4 * numbers.values.len(),
        }
    }

    /// Keeps the first `rows` rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match self {
            Cells::Ids(Ids::Single(ids)) => ids.truncate(rows),
            Cells::Ids(Ids::Lists { offsets, values }) => {
                offsets.truncate(rows + 1);
                values.truncate(offsets.last().copied().unwrap_or(0));
            }
            Cells::Numbers(numbers) => numbers.values.truncate(rows * numbers.width),
        }
    }

    /// Serialises all rows, little-endian: lists start with their lengths, dense features with the width.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Cells::Ids(Ids::Single(ids)) => ids.iter().for_each(|id| out.extend(id.to_le_bytes())),
            Cells::Ids(Ids::Lists { offsets, values }) => {
                let lengths = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as u32);
                lengths.for_each(|length| out.extend(length.to_le_bytes()));
                out.extend(values.iter().flat_map(|id| id.to_le_bytes()));
            }
            Cells::Numbers(numbers) => {
                out.extend((numbers.width as u32).to_le_bytes());
                numbers.values.iter().for_each(|x| out.extend(x.to_le_bytes()));
            }
        }
    }

    /// Appends `rows` rows serialised by [`Cells::write`]; `None` if the bytes are invalid.
    pub(crate) fn read_more(&mut self, rows: usize, bytes: &mut &[u8]) -> Option<()> {
        match self {
            Cells::Ids(Ids::Single(ids)) => ids.extend(many(bytes, rows, i64::from_le_bytes)?),
            Cells::Ids(Ids::Lists { offsets, values }) => {
                for length in many(bytes, rows, u32::from_le_bytes)? {
                    offsets.push(offsets.last()? + length as usize);
                }
                let more = offsets.last()?.checked_sub(values.len())?;
                values.extend(many(bytes, more, i64::from_le_bytes)?);
            }
            Cells::Numbers(numbers) => {
                let width = one(bytes, u32::from_le_bytes)? as usize;
                if rows > 0 {
                    numbers.width = width;
                }
                numbers.values.extend(many(bytes, rows * width, f32::from_le_bytes)?);
            }
        }
        Some(())
    }

    /// Converts to an Arrow array.
    pub(crate) fn to_arrow(&self) -> Result<ArrayRef> {
        match self {
            Cells::Ids(ids) => ids.to_arrow(),
            Cells::Numbers(numbers) => numbers.to_arrow(),
        }
    }
}
