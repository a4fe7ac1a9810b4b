//! Groups of rows with equal values in some columns: their keys, and a table with one row per group.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use hashbrown::HashMap;

use crate::features::categorical::categorify::keys::{Keys, Values, value_type};
use towline_api::{OperatorError, Result, Schema, TableFile};
use towline_tables::TableWriter;

/// Name of the key column in a group table.
const KEY: &str = "key";

/// Assigns group indexes in order of first occurrence.
pub(crate) struct Groups {
    values: Values,
    numbers: HashMap<Box<[u8]>, u32>,
    keys: Vec<Box<[u8]>>,
}

/// Row keys: bytes that are equal for equal values. Null and NaN are equal to themselves and each other here.
fn row_keys(values: &Values, columns: &[ArrayRef]) -> Result<BinaryArray> {
    match values.keys(columns)? {
        Keys::Bytes(bytes) => Ok(bytes),
        Keys::Numbers(_) => Err(OperatorError::internal("the key of a group is a tuple")),
    }
}

impl Groups {
    /// An empty set of groups keyed by the columns `names`.
    pub(crate) fn by(names: &[String], schema: &Schema) -> Result<Self> {
        let kept = names.iter().map(|name| {
            let found = crate::features::columns_of::type_of(schema, name)?;
            let kept = value_type(found);
            let kept = kept.ok_or_else(|| {
                OperatorError::internal(format!("column `{name}` holds {found}, which cannot be a key"))
            })?;
            Ok((name.clone(), kept))
        });
        Ok(Groups {
            values: Values::tuple(&kept.collect::<Result<Vec<_>>>()?)?,
            numbers: HashMap::new(),
            keys: Vec::new(),
        })
    }

    /// The group index of each row. Rows whose key columns are all null form one group.
    pub(crate) fn of_rows(&mut self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        let keys = row_keys(&self.values, columns)?;
        let mut numbers = Vec::with_capacity(keys.len());
        for key in &keys {
            let key = key.unwrap_or_default();
            let number = self.numbers.get(key).copied().unwrap_or_else(|| {
                let next = self.keys.len() as u32;
                self.numbers.insert(Box::from(key), next);
                self.keys.push(Box::from(key));
                next
            });
            numbers.push(number);
        }
        Ok(numbers)
    }

    /// Writes a table with one row per group, ordered by key; `columns` are ordered by group index.
    pub(crate) fn write(self, path: &Path, columns: Vec<(String, ArrayRef)>) -> Result<()> {
        let mut order: Vec<u32> = (0..self.keys.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.keys[*a as usize].cmp(&self.keys[*b as usize]));
        let order = UInt32Array::from(order);
        let empty_first = order
            .values()
            .first()
            .is_some_and(|first| self.keys[*first as usize].is_empty());
        let sorted = order.values().iter().map(|group| self.keys[*group as usize].as_ref());
        let sorted = sorted.skip(usize::from(empty_first));
        let values = self.values.array(&Keys::Bytes(BinaryArray::from_iter_values(sorted)))?;
        let values = if empty_first {
            let none = arrow::array::new_null_array(values.data_type(), 1);
            concat(&[none.as_ref(), values.as_ref()])?
        } else {
            values
        };
        let mut fields = vec![Field::new(KEY, values.data_type().clone(), true)];
        let mut arrays = vec![values];
        for (name, array) in columns {
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(take(array.as_ref(), &order, None)?);
        }
        let schema = Arc::new(ArrowSchema::new(fields));
        let mut writer = TableWriter::create(path, Arc::clone(&schema))?;
        writer.write(&RecordBatch::try_new(schema, arrays)?)?;
        writer.finish()?;
        Ok(())
    }
}

/// A group table in memory.
#[derive(Debug)]
pub(crate) struct GroupTable {
    values: Values,
    rows: HashMap<Box<[u8]>, u32>,
    columns: Vec<(String, ArrayRef)>,
}

impl GroupTable {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file = TableFile {
            path: path.to_owned(),
            rows: 0,
        };
        let batches = file.batches(None)?.collect::<Result<Vec<_>, _>>()?;
        let Some(first) = batches.first() else {
            return Ok(GroupTable {
                values: Values::tuple(&[])?,
                rows: HashMap::new(),
                columns: Vec::new(),
            });
        };
        let whole = arrow::compute::concat_batches(&first.schema(), &batches)?;
        let key = whole.column(0).as_struct();
        let values = Values::of_vocabulary(key.data_type())?;
        // The fields of a null struct must count as null too.
        let parts: Vec<ArrayRef> = key
            .columns()
            .iter()
            .map(|part| match key.nulls() {
                Some(nulls) => Ok(arrow::compute::nullif(
                    part,
                    &arrow::array::BooleanArray::new(!nulls.inner(), None),
                )?),
                None => Ok(Arc::clone(part)),
            })
            .collect::<Result<_>>()?;
        let keys = row_keys(&values, &parts)?;
        let rows = keys
            .iter()
            .zip(0..)
            .map(|(key, row)| (Box::from(key.unwrap_or_default()), row))
            .collect();
        let names = whole
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>();
        let columns = names.into_iter().zip(whole.columns().iter().cloned()).skip(1).collect();
        Ok(GroupTable { values, rows, columns })
    }

    /// The row of each input row's group in the table, null for an unknown group.
    pub(crate) fn places(&self, columns: &[ArrayRef]) -> Result<UInt32Array> {
        if self.rows.is_empty() {
            return Ok(UInt32Array::new_null(columns.first().map_or(0, Array::len)));
        }
        let types: Vec<&DataType> = columns.iter().map(Array::data_type).collect();
        if !self.values.accepts(&types) {
            let found: Vec<String> = types.iter().map(ToString::to_string).collect();
            let message = format!(
                "the key holds {}, but was fitted on {}",
                found.join(", "),
                self.values.data_type()
            );
            return Err(OperatorError::invalid(message));
        }
        let keys = row_keys(&self.values, columns)?;
        Ok(keys
            .iter()
            .map(|key| self.rows.get(key.unwrap_or_default()).copied())
            .collect())
    }

    /// A column with one value per group.
    pub(crate) fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.columns
            .iter()
            .find(|(column, _)| column == name)
            .map(|(_, array)| array)
    }
}
