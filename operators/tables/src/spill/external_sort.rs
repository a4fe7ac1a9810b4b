//! External sort: sorted runs of (key, number) records in temporary files, merged while they are read.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, LargeBinaryArray, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};

use crate::spill::spill_file::{SpillFile, SpillWriter};
use towline_api::{OperatorError, Result};

/// Maximum number of open files; once reached, they are merged into one.
const MOST_FILES: usize = 64;
/// Bytes of records per batch: what a reader holds in memory.
const BATCH_BYTES: usize = 1 << 18;

/// A key of spilled records: an integer or a byte string.
pub trait SpillKey: Ord + Sized {
    /// The column of keys in a file.
    type Column: Array + Clone + 'static;
    /// The type of the column.
    const TYPE: DataType;
    /// Size in a file.
    fn bytes(&self) -> usize;
    /// The keys as a column.
    fn column(keys: Vec<Self>) -> Self::Column;
    /// The column in a batch, if it has the type.
    fn of_array(array: &dyn Array) -> Option<Self::Column>;
    /// The key in a row.
    fn value(column: &Self::Column, row: usize) -> Self;
    /// Sorts records by key, then by number.
    fn sort(records: &mut [(Self, u64)]) {
        records.sort_unstable();
    }
}

impl SpillKey for i64 {
    type Column = Int64Array;
    const TYPE: DataType = DataType::Int64;

    fn bytes(&self) -> usize {
        size_of::<i64>()
    }

    fn column(keys: Vec<Self>) -> Int64Array {
        keys.into()
    }

    fn of_array(array: &dyn Array) -> Option<Int64Array> {
        array.as_primitive_opt::<Int64Type>().cloned()
    }

    fn value(column: &Int64Array, row: usize) -> Self {
        column.value(row)
    }

    fn sort(records: &mut [(Self, u64)]) {
        towline_kernels::sort(records);
    }
}

impl SpillKey for Box<[u8]> {
    type Column = LargeBinaryArray;
    const TYPE: DataType = DataType::LargeBinary;

    fn bytes(&self) -> usize {
        size_of::<i64>() + self.len()
    }

    fn column(keys: Vec<Self>) -> LargeBinaryArray {
        LargeBinaryArray::from_iter_values(keys)
    }

    fn of_array(array: &dyn Array) -> Option<LargeBinaryArray> {
        array.as_binary_opt::<i64>().cloned()
    }

    fn value(column: &LargeBinaryArray, row: usize) -> Self {
        column.value(row).into()
    }
}

/// A total order of records.
pub trait RecordOrder {
    /// Compares two records.
    fn compare<K: Ord>(a: &(K, u64), b: &(K, u64)) -> Ordering;
}

/// By key, then by number.
#[derive(Debug)]
pub struct ByKey;

impl RecordOrder for ByKey {
    fn compare<K: Ord>(a: &(K, u64), b: &(K, u64)) -> Ordering {
        a.cmp(b)
    }
}

/// Sorted runs in temporary files.
#[derive(Debug)]
pub struct SortedRuns<K, O = ByKey> {
    folder: PathBuf,
    files: Vec<SpillFile>,
    order: PhantomData<(K, O)>,
}

impl<K: SpillKey, O: RecordOrder> SortedRuns<K, O> {
    /// An empty set of runs, with files in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        SortedRuns {
            folder: folder.to_owned(),
            files: Vec::new(),
            order: PhantomData,
        }
    }

    /// Whether there is no run.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes records, which are in order, as a run.
    pub fn write_sorted(&mut self, records: impl IntoIterator<Item = (K, u64)>) -> Result<()> {
        let file = self.written(records.into_iter().map(Ok))?;
        self.files.push(file);
        if self.files.len() == MOST_FILES {
            let merged = std::mem::replace(self, SortedRuns::in_folder(&self.folder)).merged()?;
            let file = self.written(merged)?;
            self.files.push(file);
        }
        Ok(())
    }

    fn written(&self, records: impl Iterator<Item = Result<(K, u64)>>) -> Result<SpillFile> {
        let fields = [("key", K::TYPE), ("number", DataType::UInt64)];
        let schema = Schema::new(
            fields
                .map(|(name, data_type)| Field::new(name, data_type, false))
                .to_vec(),
        );
        let schema = SchemaRef::new(schema);
        let mut writer = SpillWriter::create(&self.folder, &schema)?;
        let (mut keys, mut numbers, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut flush = |keys: &mut Vec<K>, numbers: &mut Vec<u64>| {
            let keys = K::column(std::mem::take(keys));
            let numbers = UInt64Array::from(std::mem::take(numbers));
            let columns: Vec<Arc<dyn Array>> = vec![Arc::new(keys), Arc::new(numbers)];
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)
        };
        for record in records {
            let (key, number) = record?;
            bytes += key.bytes() + size_of::<u64>();
            keys.push(key);
            numbers.push(number);
            if bytes >= BATCH_BYTES {
                flush(&mut keys, &mut numbers)?;
                bytes = 0;
            }
        }
        if !keys.is_empty() {
            flush(&mut keys, &mut numbers)?;
        }
        writer.finish()
    }

    /// Merges all runs into one sorted sequence; duplicates are kept.
    pub fn merged(self) -> Result<Merged<K, O>> {
        let mut merged = Merged {
            runs: self.files.into_iter().map(Run::new).collect(),
            heads: BinaryHeap::new(),
        };
        for (index, run) in merged.runs.iter_mut().enumerate() {
            if let Some(record) = run.next()? {
                merged.heads.push(Reverse(Head::new(record, index)));
            }
        }
        Ok(merged)
    }
}

impl<K: SpillKey> SortedRuns<K> {
    /// Sorts records and writes them as a run.
    pub fn write(&mut self, mut records: Vec<(K, u64)>) -> Result<()> {
        K::sort(&mut records);
        self.write_sorted(records)
    }

    /// Calls `each` for each distinct key in ascending order, with the sum of its numbers.
    pub fn totals(self, mut each: impl FnMut(K, u64) -> Result<()>) -> Result<()> {
        let mut current: Option<(K, u64)> = None;
        for record in self.merged()? {
            let (key, count) = record?;
            match &mut current {
                Some((same, total)) if *same == key => *total += count,
                _ => {
                    if let Some((key, total)) = current.replace((key, count)) {
                        each(key, total)?;
                    }
                }
            }
        }
        match current {
            Some((key, total)) => each(key, total),
            None => Ok(()),
        }
    }
}

/// Reads the records of one run.
struct Run<K: SpillKey> {
    file: SpillFile,
    batch: Option<(K::Column, UInt64Array)>,
    row: usize,
}

impl<K: SpillKey> Run<K> {
    fn new(file: SpillFile) -> Self {
        Run {
            file,
            batch: None,
            row: 0,
        }
    }

    fn next(&mut self) -> Result<Option<(K, u64)>> {
        loop {
            if let Some((keys, numbers)) = &self.batch
                && self.row < numbers.len()
            {
                self.row += 1;
                return Ok(Some((K::value(keys, self.row - 1), numbers.value(self.row - 1))));
            }
            let Some(batch) = self.file.next_batch()? else {
                return Ok(None);
            };
            let keys = K::of_array(batch.column(0));
            let numbers = batch.column(1).as_primitive_opt::<UInt64Type>().cloned();
            let columns = keys.zip(numbers);
            self.batch = Some(columns.ok_or_else(|| OperatorError::invalid("a spill file has other columns"))?);
            self.row = 0;
        }
    }
}

/// The next record of a run, in the heap of all runs.
struct Head<K, O> {
    record: (K, u64),
    run: usize,
    order: PhantomData<O>,
}

impl<K, O> Head<K, O> {
    fn new(record: (K, u64), run: usize) -> Self {
        Head {
            record,
            run,
            order: PhantomData,
        }
    }
}

impl<K: Ord, O: RecordOrder> Ord for Head<K, O> {
    fn cmp(&self, other: &Self) -> Ordering {
        O::compare(&self.record, &other.record).then(self.run.cmp(&other.run))
    }
}

impl<K: Ord, O: RecordOrder> PartialOrd for Head<K, O> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, O: RecordOrder> PartialEq for Head<K, O> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord, O: RecordOrder> Eq for Head<K, O> {}

/// Iterator over the merged records.
pub struct Merged<K: SpillKey, O = ByKey> {
    runs: Vec<Run<K>>,
    heads: BinaryHeap<Reverse<Head<K, O>>>,
}

impl<K: SpillKey, O: RecordOrder> Iterator for Merged<K, O> {
    type Item = Result<(K, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first = self.heads.peek_mut()?;
        let run = first.0.run;
        // The run's next record takes the place of this one in the heap.
        let Reverse(head) = match self.runs[run].next() {
            Ok(Some(record)) => std::mem::replace(&mut *first, Reverse(Head::new(record, run))),
            Ok(None) => PeekMut::pop(first),
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(head.record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_runs_are_one_order_and_equal_keys_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = SortedRuns::<i64>::in_folder(folder.path());
        // Enough runs for two rounds of merging.
        for run in 0..2 * MOST_FILES as i64 + 3 {
            runs.write(vec![(run % 5, 1), (-run, 1)]).unwrap();
            assert!(runs.files.len() < MOST_FILES);
        }
        let (mut keys, mut sum) = (Vec::new(), 0);
        runs.totals(|key: i64, count| {
            keys.push(key);
            sum += count;
            Ok(())
        })
        .unwrap();
        assert_eq!(sum, 2 * (2 * MOST_FILES as u64 + 3));
        assert_eq!(keys, (-130..5).collect::<Vec<i64>>());
    }

    #[test]
    fn bytes_of_any_length_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = SortedRuns::<Box<[u8]>>::in_folder(folder.path());
        let record = |text: &str, number| (Box::<[u8]>::from(text.as_bytes()), number);
        runs.write(vec![record("b", 1), record("", 2), record("ab", 3)])
            .unwrap();
        runs.write(vec![record("a", 4), record("b", 0)]).unwrap();
        let all: Vec<_> = runs.merged().unwrap().map(Result::unwrap).collect();
        let expected = [
            record("", 2),
            record("a", 4),
            record("ab", 3),
            record("b", 0),
            record("b", 1),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_run_of_many_batches_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = SortedRuns::<i64>::in_folder(folder.path());
        let count = 3 * (BATCH_BYTES as i64 / 16) + 1;
        runs.write((0..count).rev().map(|key| (2 * key, 7)).collect()).unwrap();
        runs.write((0..count).map(|key| (2 * key + 1, 8)).collect()).unwrap();
        let expected = (0..2 * count).map(|key| (key, 7 + (key % 2) as u64));
        assert!(runs.merged().unwrap().map(Result::unwrap).eq(expected));
    }
}
