//! Encoded columns in memory.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int64Type};
use std::sync::Arc;

use crate::contract::{Cancel, Column, OperatorError, Result, TableFile};

/// The ids of one encoded column, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ids {
    /// One id a row.
    Single(Vec<i64>),
    /// Any number of ids a row: those of row `r` are `values[offsets[r]..offsets[r + 1]]`.
    Lists {
        /// Where each row begins, and the end of the last one.
        offsets: Vec<usize>,
        /// The ids of all rows.
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
            _ => return Err(OperatorError::invalid("a column of lists meets one without")),
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
        // An id outside its domain would read past an embedding table.
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
                let field = Arc::new(Field::new_list_field(DataType::Int64, true));
                let values = Arc::new(Int64Array::from(values.clone()));
                Arc::new(ListArray::try_new(
                    field,
                    OffsetBuffer::from_lengths(lengths),
                    values,
                    None,
                )?)
            }
        })
    }
}

/// Encoded columns of the same rows.
#[derive(Debug, Clone)]
pub(crate) struct EncodedTable {
    columns: Vec<(String, Ids)>,
    /// Number of rows.
    pub(crate) rows: usize,
}

impl EncodedTable {
    /// The named columns of all of `tables`, one after the other.
    pub(crate) fn read<'a>(
        tables: impl IntoIterator<Item = &'a TableFile>,
        columns: &[&Column],
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut all = EncodedTable::empty(columns);
        EncodedTable::scan(tables, columns, cancel, |batch| {
            all.append(&batch);
            Ok(())
        })?;
        Ok(all)
    }

    /// The same, batch by batch.
    pub(crate) fn scan<'a>(
        tables: impl IntoIterator<Item = &'a TableFile>,
        columns: &[&Column],
        cancel: &Cancel,
        mut each: impl FnMut(Self) -> Result<()>,
    ) -> Result<()> {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        for table in tables {
            for batch in table.batches(Some(&names))? {
                cancel.check()?;
                let batch = batch?;
                let mut encoded = EncodedTable::empty(columns);
                encoded.rows = batch.num_rows();
                for (column, (name, ids)) in columns.iter().zip(&mut encoded.columns) {
                    let array = batch.column_by_name(name);
                    let array = array.ok_or_else(|| OperatorError::invalid(format!("there is no column `{name}`")))?;
                    ids.append(array, column)?;
                }
                each(encoded)?;
            }
        }
        Ok(())
    }

    /// No rows of these columns.
    pub(crate) fn empty(columns: &[&Column]) -> Self {
        EncodedTable {
            columns: columns
                .iter()
                .map(|c| (c.name.clone(), Ids::empty(c.is_list())))
                .collect(),
            rows: 0,
        }
    }

    /// Adds rows of the same columns.
    pub(crate) fn append(&mut self, other: &Self) {
        for ((_, ids), (_, more)) in self.columns.iter_mut().zip(&other.columns) {
            match (ids, more) {
                (Ids::Single(ids), Ids::Single(more)) => ids.extend_from_slice(more),
                (
                    Ids::Lists { offsets, values },
                    Ids::Lists {
                        offsets: ends,
                        values: more,
                    },
                ) => {
                    let start = values.len();
                    offsets.extend(ends[1..].iter().map(|end| start + end));
                    values.extend_from_slice(more);
                }
                _ => {}
            }
        }
        self.rows += other.rows;
    }

    /// Its memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |(_, ids): &(String, Ids)| match ids {
            Ids::Single(ids) => 8 * ids.len(),
            Ids::Lists { offsets, values } => 8 * (offsets.len() + values.len()),
        };
        self.columns.iter().map(bytes).sum()
    }

    /// A table of these columns.
    #[cfg(test)]
    pub(crate) fn of(columns: Vec<(String, Ids)>, rows: usize) -> Self {
        EncodedTable { columns, rows }
    }

    /// The ids of a column.
    pub(crate) fn get(&self, name: &str) -> Result<&Ids> {
        let found = self.columns.iter().find(|(column, _)| column == name);
        found
            .map(|(_, ids)| ids)
            .ok_or_else(|| OperatorError::invalid(format!("there is no column `{name}`")))
    }

    /// The ids of a column that has one a row.
    pub(crate) fn single(&self, name: &str) -> Result<&[i64]> {
        match self.get(name)? {
            Ids::Single(ids) => Ok(ids),
            Ids::Lists { .. } => Err(OperatorError::invalid(format!(
                "`{name}` holds lists; an id column cannot"
            ))),
        }
    }

    /// The given rows, in the given order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        let columns = self
            .columns
            .iter()
            .map(|(name, ids)| (name.clone(), ids.select(rows)))
            .collect();
        EncodedTable {
            columns,
            rows: rows.len(),
        }
    }

    /// The rows of this table, then those of another with the same columns.
    pub(crate) fn and(&self, other: &Self) -> Result<Self> {
        let columns = self.columns.iter().map(|(name, ids)| {
            let mut ids = ids.clone();
            ids.extend(other.get(name)?)?;
            Ok((name.clone(), ids))
        });
        Ok(EncodedTable {
            columns: columns.collect::<Result<_>>()?,
            rows: self.rows + other.rows,
        })
    }

    /// The named columns alone.
    pub(crate) fn project(&self, columns: &[Column]) -> Result<Self> {
        let columns = columns
            .iter()
            .map(|column| Ok((column.name.clone(), self.get(&column.name)?.clone())));
        Ok(EncodedTable {
            columns: columns.collect::<Result<_>>()?,
            rows: self.rows,
        })
    }

    /// All ids of a row, each column led by how many it has: equal for rows that no tower can tell apart.
    pub(crate) fn key(&self, row: usize, columns: &[Column]) -> Result<Vec<i64>> {
        let mut key = Vec::new();
        for column in columns {
            let ids = self.get(&column.name)?.row(row);
            key.push(ids.len() as i64);
            key.extend_from_slice(ids);
        }
        Ok(key)
    }

    /// The columns as Arrow arrays, in order.
    pub(crate) fn to_arrow(&self) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|(_, ids)| ids.to_arrow()).collect()
    }
}
