//! Counts value frequencies for a vocabulary, in memory up to a limit and beyond it on disk.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array};
use arrow::compute::{cast, filter, is_not_null};
use arrow::datatypes::DataType;
use hashbrown::HashMap;
use towline_kernels::IntegerCounts;

use crate::features::categorical::categorify::keys::{Keys, Values};
use towline_api::{OperatorError, Result};
use towline_tables::spill::external_sort::{SortedRuns, SpillKey};

/// Memory per numeric entry while entries are sorted and written: key and count, and the sort's copy of both.
const NUMBER_BYTES: usize = 48;
/// Memory per text entry beside its bytes: pointer, length, count, control byte and allocator overhead.
const TEXT_BYTES: usize = 96;

/// A value's key in memory.
pub(crate) trait Key: SpillKey + Clone + Send {
    fn collect(keys: &[(Self, u64)]) -> Keys;
    /// Sorts by count descending, then key ascending.
    fn rank(counted: &mut [(Self, u64)]);
}

impl Key for i64 {
    fn collect(keys: &[(Self, u64)]) -> Keys {
        Keys::Numbers(Int64Array::from_iter_values(keys.iter().map(|(key, _)| *key)))
    }

    fn rank(counted: &mut [(Self, u64)]) {
        towline_kernels::rank(counted);
    }
}

impl Key for Box<[u8]> {
    fn collect(keys: &[(Self, u64)]) -> Keys {
        Keys::Bytes(BinaryArray::from_iter_values(keys.iter().map(|(key, _)| key)))
    }

    fn rank(counted: &mut [(Self, u64)]) {
        counted.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    }
}

/// Frequencies of a vocabulary's values.
pub(crate) struct Counter {
    pub(crate) values: Values,
    pub(crate) nulls: u64,
    counts: Counts,
    limit: usize,
}

enum Counts {
    Numbers {
        counts: IntegerCounts,
        runs: SortedRuns<i64>,
    },
    Bytes {
        counts: HashMap<Box<[u8]>, u64>,
        taken: usize,
        runs: SortedRuns<Box<[u8]>>,
    },
}

/// Complete frequencies: in memory in any order, or spilled to runs that are sorted by key and may repeat a key.
pub(crate) enum Frequencies<K> {
    Memory(Vec<(K, u64)>),
    /// The runs, and the maximum number of entries in memory.
    Disk(SortedRuns<K>, usize),
}

/// Complete frequencies, by the kind of key.
pub(crate) enum Counted {
    Numbers(Frequencies<i64>),
    Bytes(Frequencies<Box<[u8]>>),
}

impl Counter {
    /// An empty counter. Above `limit` bytes of memory, counts are spilled to files in `folder`.
    pub(crate) fn new(values: Values, limit: Option<usize>, folder: &Path) -> Self {
        let counts = match values {
            Values::Number(_) => Counts::Numbers {
                counts: IntegerCounts::default(),
                runs: SortedRuns::in_folder(folder),
            },
            Values::Text | Values::Tuple { .. } => Counts::Bytes {
                counts: HashMap::new(),
                taken: 0,
                runs: SortedRuns::in_folder(folder),
            },
        };
        Counter {
            values,
            nulls: 0,
            counts,
            limit: limit.unwrap_or(usize::MAX),
        }
    }

    /// Counts the values of one column, or the tuples of several. Lists are counted element by element; a null list has
    /// no elements.
    pub(crate) fn update(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let columns = columns
            .iter()
            .map(|column| {
                if is_list(column.data_type()) {
                    elements(column)
                } else {
                    Ok(Arc::clone(column))
                }
            })
            .collect::<Result<Vec<_>>>()?;
        match (self.values.keys(&columns)?, &mut self.counts) {
            (Keys::Numbers(keys), Counts::Numbers { counts, runs }) => {
                self.nulls += keys.null_count() as u64;
                if keys.null_count() == 0 {
                    counts.add(keys.values(), self.limit / 2);
                } else {
                    counts.add(&keys.iter().flatten().collect::<Vec<_>>(), self.limit / 2);
                }
                if counts.bytes() > self.limit {
                    runs.write(counts.take())?;
                }
            }
            (Keys::Bytes(keys), Counts::Bytes { counts, taken, runs }) => {
                self.nulls += keys.null_count() as u64;
                for value in keys.iter().flatten() {
                    if let Some(count) = counts.get_mut(value) {
                        *count += 1;
                    } else {
                        *taken += TEXT_BYTES + value.len();
                        counts.insert(Box::from(value), 1);
                    }
                }
                if *taken > self.limit {
                    runs.write(counts.drain().collect())?;
                    *taken = 0;
                }
            }
            _ => {
                return Err(OperatorError::internal("the column's type differs between two batches"));
            }
        }
        Ok(())
    }

    /// Finishes counting: the kind of value, the number of nulls and the frequencies.
    pub(crate) fn finish(self) -> Result<(Values, u64, Counted)> {
        let counted = match self.counts {
            Counts::Numbers { counts, mut runs } => {
                if runs.is_empty() {
                    Counted::Numbers(Frequencies::Memory(counts.finish()))
                } else {
                    runs.write(counts.finish())?;
                    Counted::Numbers(Frequencies::Disk(runs, self.limit / NUMBER_BYTES))
                }
            }
            Counts::Bytes { counts, mut runs, .. } => {
                if runs.is_empty() {
                    Counted::Bytes(Frequencies::Memory(counts.into_iter().collect()))
                } else {
                    runs.write(counts.into_iter().collect())?;
                    Counted::Bytes(Frequencies::Disk(runs, self.limit / TEXT_BYTES))
                }
            }
        };
        Ok((self.values, self.nulls, counted))
    }
}

pub(crate) fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
    )
}

/// The elements of all non-null lists, in order.
fn elements(array: &ArrayRef) -> Result<ArrayRef> {
    let present: BooleanArray = is_not_null(array)?;
    let array = if array.null_count() > 0 {
        filter(array, &present)?
    } else {
        Arc::clone(array)
    };
    let array = as_list(&array)?;
    let list = array.as_list::<i32>();
    let (first, last) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
    Ok(list.values().slice(first as usize, (last - first) as usize))
}

/// Any list type cast to lists with 32-bit offsets.
pub(crate) fn as_list(array: &ArrayRef) -> Result<ArrayRef> {
    let field = match array.data_type() {
        DataType::List(_) => return Ok(Arc::clone(array)),
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) => Arc::clone(field),
        other => return Err(OperatorError::internal(format!("{other} is not a list"))),
    };
    Ok(cast(array, &DataType::List(field))?)
}
