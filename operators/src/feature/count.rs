//! Counts the values of a column, and writes them as a vocabulary.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, UInt64Array, new_null_array,
};
use arrow::compute::{cast, concat, filter, is_not_null};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::keys::{Keys, canonical, keys, values};
use crate::contract::{NULL_ID, OOV_ID, Result, TableWriter};

/// Keys below this are counted in a plain vector: most ids are small, and a vector needs no hash.
const SMALL: i64 = 1 << 16;

/// What decides which counted values get an id of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) min_count: u64,
    pub(super) max_size: Option<u64>,
    pub(super) oov_buckets: u64,
}

impl Limits {
    /// The first id that stands for a value of its own.
    fn first_value_id(self) -> i64 {
        OOV_ID + self.oov_buckets as i64
    }

    /// How many values can get an id.
    fn room(self) -> usize {
        let room = self
            .max_size
            .map(|size| size.saturating_sub(self.first_value_id() as u64));
        room.and_then(|room| usize::try_from(room).ok()).unwrap_or(usize::MAX)
    }
}

/// The counts of one column's values.
pub(super) struct Counter {
    value_type: DataType,
    nulls: u64,
    small: Vec<u64>,
    numbers: HashMap<i64, u64>,
    text: HashMap<String, u64>,
}

impl Counter {
    /// Nothing counted yet of a column whose values are kept as `value_type`.
    pub(super) fn new(value_type: DataType) -> Self {
        Counter {
            value_type,
            nulls: 0,
            small: Vec::new(),
            numbers: HashMap::new(),
            text: HashMap::new(),
        }
    }

    /// Counts the values of `array`, or their elements if they are lists. A missing list has no elements.
    pub(super) fn update(&mut self, array: &ArrayRef) -> Result<()> {
        let elements = match array.data_type() {
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => elements(array)?,
            _ => Arc::clone(array),
        };
        match keys(&elements, &self.value_type)? {
            Keys::Numbers(numbers) => {
                self.nulls += numbers.null_count() as u64;
                for key in numbers.iter().flatten() {
                    self.number(key);
                }
            }
            Keys::Text(text) => {
                self.nulls += text.null_count() as u64;
                for value in text.iter().flatten() {
                    *self.text.entry_ref(value).or_insert(0) += 1;
                }
            }
        }
        Ok(())
    }

    fn number(&mut self, key: i64) {
        if (0..SMALL).contains(&key) {
            let index = key as usize;
            if index >= self.small.len() {
                self.small.resize((index + 1).next_power_of_two(), 0);
            }
            self.small[index] += 1;
        } else {
            *self.numbers.entry(key).or_insert(0) += 1;
        }
    }

    /// Writes the vocabulary. Its bytes depend on the counts alone: the order of ids is total.
    pub(super) fn write(self, path: &Path, limits: Limits) -> Result<()> {
        let Counter {
            value_type,
            nulls,
            small,
            numbers,
            text,
        } = self;
        let mut reserved = vec![nulls];
        reserved.resize(1 + limits.oov_buckets as usize, 0);
        let (chosen, counts): (ArrayRef, Vec<u64>) = if value_type == DataType::Utf8 {
            let ranked = rank(text.into_iter().collect(), limits, &mut reserved, |value: &String| {
                xxh3_64(value.as_bytes())
            });
            let values = StringArray::from_iter_values(ranked.iter().map(|(value, _)| value.as_str()));
            (Arc::new(values), ranked.iter().map(|(_, count)| *count).collect())
        } else {
            let small = small
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .map(|(key, count)| (key as i64, *count));
            let ranked = rank(small.chain(numbers).collect(), limits, &mut reserved, |key: &i64| {
                xxh3_64(&canonical(*key, &value_type))
            });
            let keys = Int64Array::from_iter_values(ranked.iter().map(|(key, _)| *key));
            (
                values(&keys, &value_type)?,
                ranked.iter().map(|(_, count)| *count).collect(),
            )
        };
        let nothing = new_null_array(&value_type, reserved.len());
        let column = concat(&[nothing.as_ref(), chosen.as_ref()])?;
        reserved.extend(counts);
        let schema = Arc::new(ArrowSchema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("value", value_type, true),
            Field::new("count", DataType::UInt64, false),
        ]));
        let ids = Int64Array::from_iter_values((NULL_ID..).take(reserved.len()));
        let columns: Vec<ArrayRef> = vec![Arc::new(ids), column, Arc::new(UInt64Array::from(reserved))];
        let mut writer = TableWriter::create(path, Arc::clone(&schema))?;
        writer.write(&RecordBatch::try_new(schema, columns)?)?;
        writer.finish()?;
        Ok(())
    }
}

/// The values that get an id, in order of their ids; the occurrences of the others are added to their buckets.
fn rank<K: Ord>(
    mut entries: Vec<(K, u64)>,
    limits: Limits,
    reserved: &mut [u64],
    hash: impl Fn(&K) -> u64,
) -> Vec<(K, u64)> {
    entries.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let frequent = entries.partition_point(|(_, count)| *count >= limits.min_count);
    let rare = entries.split_off(frequent.min(limits.room()));
    for (value, count) in &rare {
        // Bucket b is id 2 + b, which is place 1 + b after the place of null.
        reserved[1 + (hash(value) % limits.oov_buckets) as usize] += count;
    }
    entries
}

/// The elements of all lists that are there, in order.
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

/// Lists of any kind as lists with 32-bit offsets.
pub(super) fn as_list(array: &ArrayRef) -> Result<ArrayRef> {
    let field = match array.data_type() {
        DataType::List(_) => return Ok(Arc::clone(array)),
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) => Arc::clone(field),
        other => {
            return Err(crate::contract::OperatorError::invalid(format!(
                "{other} is not a list"
            )));
        }
    };
    Ok(cast(array, &DataType::List(field))?)
}
