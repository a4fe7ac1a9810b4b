//! Feature columns of the same rows, in memory.

use arrow::array::ArrayRef;

use crate::data::dense_features::DenseFeatures;
use crate::data::feature_column::{FeatureColumn, IdFeatures};
use towline_api::{Cancel, Column, OperatorError, Result, TableFile};

/// Feature columns of the same rows.
#[derive(Debug, Clone)]
pub(crate) struct FeatureTable {
    columns: Vec<(String, FeatureColumn)>,
    /// Number of rows.
    pub(crate) rows: usize,
}

impl FeatureTable {
    /// Reads the columns from all `tables`, concatenated.
    pub(crate) fn read<'a>(
        tables: impl IntoIterator<Item = &'a TableFile>,
        columns: &[&Column],
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut all = FeatureTable::empty(columns);
        FeatureTable::scan(tables, columns, cancel, |batch| all.append(&batch))?;
        Ok(all)
    }

    /// Reads the columns batch by batch.
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
                let mut encoded = FeatureTable::empty(columns);
                encoded.rows = batch.num_rows();
                for (column, (name, cells)) in columns.iter().zip(&mut encoded.columns) {
                    let array = batch.column_by_name(name);
                    let array = array.ok_or_else(|| OperatorError::internal(format!("there is no column `{name}`")))?;
                    cells.append(array, column)?;
                }
                each(encoded)?;
            }
        }
        Ok(())
    }

    /// A table without rows.
    pub(crate) fn empty(columns: &[&Column]) -> Self {
        FeatureTable {
            columns: columns
                .iter()
                .map(|c| (c.name.clone(), FeatureColumn::empty(c)))
                .collect(),
            rows: 0,
        }
    }

    /// Appends another table.
    pub(crate) fn append(&mut self, other: &Self) -> Result<()> {
        for ((name, cells), (_, more)) in self.columns.iter_mut().zip(&other.columns) {
            cells.extend(more, name)?;
        }
        self.rows += other.rows;
        Ok(())
    }

    /// Memory use in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.iter().map(|(_, cells)| cells.bytes()).sum()
    }

    /// A table with these columns.
    #[cfg(test)]
    pub(crate) fn of(columns: Vec<(String, FeatureColumn)>, rows: usize) -> Self {
        FeatureTable { columns, rows }
    }

    /// A column by name.
    pub(crate) fn cells(&self, name: &str) -> Result<&FeatureColumn> {
        let found = self.columns.iter().find(|(column, _)| column == name);
        found
            .map(|(_, cells)| cells)
            .ok_or_else(|| OperatorError::internal(format!("there is no column `{name}`")))
    }

    /// A categorical column by name.
    pub(crate) fn get(&self, name: &str) -> Result<&IdFeatures> {
        match self.cells(name)? {
            FeatureColumn::IdFeatures(ids) => Ok(ids),
            FeatureColumn::Dense(_) => Err(OperatorError::internal(format!("`{name}` holds numbers, not ids"))),
        }
    }

    /// A dense column by name; it must have `width` numbers per row.
    pub(crate) fn numbers(&self, name: &str, width: usize) -> Result<&DenseFeatures> {
        match self.cells(name)? {
            FeatureColumn::Dense(numbers) if numbers.width == width || self.rows == 0 => Ok(numbers),
            FeatureColumn::Dense(numbers) => Err(OperatorError::invalid(format!(
                "`{name}` has {} numbers per row, but the model was trained on {width}",
                numbers.width
            ))),
            FeatureColumn::IdFeatures(_) => Err(OperatorError::internal(format!("`{name}` holds ids, not numbers"))),
        }
    }

    /// A categorical column with one id per row, by name.
    pub(crate) fn single(&self, name: &str) -> Result<&[i64]> {
        match self.get(name)? {
            IdFeatures::Single(ids) => Ok(ids),
            IdFeatures::Lists { .. } => Err(OperatorError::internal(format!(
                "`{name}` holds lists; an id column cannot"
            ))),
        }
    }

    /// Selects rows in the given order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        let columns = self
            .columns
            .iter()
            .map(|(name, cells)| (name.clone(), cells.select(rows)))
            .collect();
        FeatureTable {
            columns,
            rows: rows.len(),
        }
    }

    /// Concatenates two tables with the same columns.
    pub(crate) fn and(&self, other: &Self) -> Result<Self> {
        let columns = self.columns.iter().map(|(name, cells)| {
            let mut cells = cells.clone();
            cells.extend(other.cells(name)?, name)?;
            Ok((name.clone(), cells))
        });
        Ok(FeatureTable {
            columns: columns.collect::<Result<_>>()?,
            rows: self.rows + other.rows,
        })
    }

    /// Selects columns by name.
    pub(crate) fn project(&self, columns: &[Column]) -> Result<Self> {
        let columns = columns
            .iter()
            .map(|column| Ok((column.name.clone(), self.cells(&column.name)?.clone())));
        Ok(FeatureTable {
            columns: columns.collect::<Result<_>>()?,
            rows: self.rows,
        })
    }

    /// A key of all features of a row: equal for rows that a tower cannot distinguish.
    pub(crate) fn key(&self, row: usize, columns: &[Column]) -> Result<Vec<i64>> {
        let mut key = Vec::new();
        for column in columns {
            self.cells(&column.name)?.add_to_key(row, &mut key);
        }
        Ok(key)
    }

    /// Whether two rows have equal features.
    pub(crate) fn same(&self, row: usize, other: &Self, other_row: usize) -> bool {
        let mut columns = self.columns.iter().zip(&other.columns);
        columns.all(|((_, cells), (_, others))| cells.same(row, others, other_row))
    }

    /// Keeps the first `rows` rows.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|(_, cells)| cells.truncate(rows));
        self.rows = self.rows.min(rows);
    }

    /// Appends `rows` rows of arrays that [`Self::to_arrow`] made of a table with the same columns.
    pub(crate) fn append_stored(&mut self, arrays: &[ArrayRef], rows: usize) -> Result<()> {
        for ((name, cells), array) in self.columns.iter_mut().zip(arrays) {
            cells.append_stored(array, name)?;
        }
        self.rows += rows;
        Ok(())
    }

    /// Converts the columns to Arrow arrays, in order.
    pub(crate) fn to_arrow(&self) -> Result<Vec<ArrayRef>> {
        self.columns
            .iter()
            .map(|(_, cells)| cells.to_arrow(self.rows))
            .collect()
    }
}
