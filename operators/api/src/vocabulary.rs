//! Vocabularies: what the ids of an encoded column stand for.
//!
//! A vocabulary is a Parquet file with the columns `id` (int64), `value` and `count` (uint64), in order of the id.
//! Ids: 0 is padding and has no row; 1 is null; `2..2+B` are the out-of-vocabulary buckets; from `2+B` on come the
//! values by count descending, then value ascending. Reserved rows have a null value.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatchReader, UInt64Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Int64Type, UInt64Type};

use crate::{OperatorError, Result, TableFile};

/// The id that pads; no value ever gets it.
pub const PADDING_ID: i64 = 0;
/// The id of null and NaN.
pub const NULL_ID: i64 = 1;
/// The first out-of-vocabulary bucket.
pub const OOV_ID: i64 = 2;

/// A vocabulary file, read when it is first asked for a value.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    path: PathBuf,
    table: Arc<OnceLock<Arc<VocabularyTable>>>,
    derived: Arc<OnceLock<Arc<dyn Any + Send + Sync>>>,
}

/// A vocabulary in memory.
#[derive(Debug)]
pub struct VocabularyTable {
    /// `values[i]` is what id `first_id + i` stands for; null for reserved ids.
    values: ArrayRef,
    /// How often each id occurred when the vocabulary was made, by id from 0.
    counts: Vec<u64>,
    first_value_id: i64,
}

impl Vocabulary {
    /// The vocabulary stored at `path`; nothing is read yet.
    pub fn at(path: &Path) -> Self {
        Vocabulary {
            path: path.to_owned(),
            table: Arc::default(),
            derived: Arc::default(),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The vocabulary in memory.
    pub fn load(&self) -> Result<Arc<VocabularyTable>> {
        if let Some(table) = self.table.get() {
            return Ok(Arc::clone(table));
        }
        let table = Arc::new(VocabularyTable::read(&self.path)?);
        Ok(Arc::clone(self.table.get_or_init(|| table)))
    }

    /// Number of ids, padding and the other reserved ones included: ids are `0..size`. Only the end of the file is read.
    pub fn size(&self) -> Result<u64> {
        if let Some(table) = self.table.get() {
            return Ok(table.size() as u64);
        }
        Ok(self.file().counted_rows()? + 1)
    }

    /// The type of the values and the values themselves, in order of their ids and with the reserved ones, which are null;
    /// for readers that need no more than one pass and do not hold them all.
    pub fn blocks(&self) -> Result<(DataType, impl Iterator<Item = Result<ArrayRef>>)> {
        let batches = self.file().batches(Some(&["value"]))?;
        let schema = batches.schema();
        let Ok(field) = schema.field_with_name("value") else {
            return Err(not_a_vocabulary(&self.path));
        };
        Ok((
            field.data_type().clone(),
            batches.map(|batch| Ok(Arc::clone(batch?.column(0)))),
        ))
    }

    fn file(&self) -> TableFile {
        TableFile {
            path: self.path.clone(),
            rows: 0,
        }
    }

    /// What `make` makes of the file, for example an index: made once, however many splits ask for it.
    pub fn derived<T: Any + Send + Sync>(&self, make: impl FnOnce(&Vocabulary) -> Result<T>) -> Result<Arc<T>> {
        if let Some(known) = self.derived.get()
            && let Ok(known) = Arc::clone(known).downcast::<T>()
        {
            return Ok(known);
        }
        let made = Arc::new(make(self)?);
        let kept = self
            .derived
            .get_or_init(|| Arc::clone(&made) as Arc<dyn Any + Send + Sync>);
        Ok(Arc::clone(kept).downcast::<T>().unwrap_or(made))
    }
}

impl VocabularyTable {
    fn read(path: &Path) -> Result<Self> {
        let file = TableFile {
            path: path.to_owned(),
            rows: 0,
        };
        let mut ids: Vec<i64> = Vec::new();
        let mut values: Vec<ArrayRef> = Vec::new();
        let mut counts = vec![0];
        for batch in file.batches(None)? {
            let batch = batch?;
            let (Some(id), Some(value), Some(count)) = (
                batch
                    .column_by_name("id")
                    .and_then(|c| c.as_primitive_opt::<Int64Type>()),
                batch.column_by_name("value"),
                batch
                    .column_by_name("count")
                    .and_then(|c| c.as_primitive_opt::<UInt64Type>()),
            ) else {
                return Err(not_a_vocabulary(path));
            };
            ids.extend(id.values());
            values.push(Arc::clone(value));
            counts.extend(count.values());
        }
        if !ids.iter().copied().eq(1..=ids.len() as i64) || values.is_empty() {
            return Err(not_a_vocabulary(path));
        }
        let parts: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        let values = concat(&parts)?;
        let first_value_id = (1 + (0..values.len()).take_while(|&row| values.is_null(row)).count()) as i64;
        Ok(VocabularyTable {
            values,
            counts,
            first_value_id,
        })
    }

    /// Number of ids, padding and the other reserved ones included: ids are `0..size`.
    pub fn size(&self) -> usize {
        self.counts.len()
    }

    /// The smallest id that stands for a value of its own.
    pub fn first_value_id(&self) -> i64 {
        self.first_value_id
    }

    /// How often each id occurred where the vocabulary was fitted, by id from 0.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The original values, for ids `1..size`; reserved ids are null.
    pub fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// The original values of `ids`, in their order; null for reserved ids and for ids that are not in the vocabulary.
    pub fn decode(&self, ids: &[i64]) -> Result<ArrayRef> {
        let size = self.size() as i64;
        let rows: UInt64Array = ids
            .iter()
            .map(|&id| (id >= self.first_value_id && id < size).then(|| (id - 1) as u64))
            .collect();
        Ok(take(self.values.as_ref(), &rows, None)?)
    }

    /// The ids that stand for a value of their own.
    pub fn value_ids(&self) -> Int64Array {
        Int64Array::from_iter_values(self.first_value_id..self.size() as i64)
    }
}

fn not_a_vocabulary(path: &Path) -> OperatorError {
    OperatorError::invalid(format!(
        "{}: not a vocabulary: it needs the columns id (int64, 1, 2, 3, ...), value and count (uint64)",
        path.display()
    ))
}
