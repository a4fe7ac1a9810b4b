//! External sort: sorted runs in temporary files, merged while they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Result as IoResult, Seek, Write};
use std::path::{Path, PathBuf};

use towline_api::{OperatorError, Result};

/// Maximum number of open files; once reached, they are merged into one.
const MOST_FILES: usize = 64;
/// Buffer size of reads and writes.
const BUFFER: usize = 1 << 18;

/// A record that can be sorted and serialised.
pub trait Entry: Ord + Sized {
    /// Appends the serialised record.
    fn append(&self, out: &mut Vec<u8>);
    /// Reads one record from the start of `from`.
    fn read(from: &mut impl Read) -> IoResult<Self>;
    /// Sorts records.
    fn sort(entries: &mut [Self]) {
        entries.sort_unstable();
    }
}

impl Entry for (i64, u64) {
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
        out.extend_from_slice(&self.1.to_le_bytes());
    }

    fn read(from: &mut impl Read) -> IoResult<Self> {
        let bytes: [u8; 16] = exactly(from)?;
        let both = u128::from_le_bytes(bytes);
        Ok((both as i64, (both >> 64) as u64))
    }

    fn sort(entries: &mut [Self]) {
        towline_kernels::sort(entries);
    }
}

impl Entry for (Box<[u8]>, u64) {
    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.0);
        out.extend_from_slice(&self.1.to_le_bytes());
    }

    fn read(from: &mut impl Read) -> IoResult<Self> {
        let mut key = vec![0; u32::from_le_bytes(exactly(from)?) as usize];
        from.read_exact(&mut key)?;
        Ok((key.into(), u64::from_le_bytes(exactly(from)?)))
    }
}

fn exactly<const N: usize>(from: &mut impl Read) -> IoResult<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Sorted runs in a folder.
#[derive(Debug)]
pub struct Runs<E> {
    folder: PathBuf,
    files: Vec<File>,
    kind: std::marker::PhantomData<E>,
}

impl<E: Entry> Runs<E> {
    /// An empty set of runs.
    pub fn in_folder(folder: &Path) -> Self {
        Runs {
            folder: folder.to_owned(),
            files: Vec::new(),
            kind: std::marker::PhantomData,
        }
    }

    /// Whether there is no run.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Sorts the records and writes them as a run.
    pub fn write(&mut self, mut entries: Vec<E>) -> Result<()> {
        E::sort(&mut entries);
        self.write_sorted(entries.into_iter())
    }

    /// Writes sorted records as a run.
    pub fn write_sorted(&mut self, entries: impl Iterator<Item = E>) -> Result<()> {
        let file = self.written(entries.map(Ok))?;
        self.files.push(file);
        if self.files.len() == MOST_FILES {
            let merged = std::mem::replace(self, Runs::in_folder(&self.folder)).merged()?;
            let file = self.written(merged)?;
            self.files.push(file);
        }
        Ok(())
    }

    fn written(&self, entries: impl Iterator<Item = Result<E>>) -> Result<File> {
        let fail = |folder: &Path| OperatorError::io(folder.to_owned());
        // An unnamed file is deleted with its handle, however the process ends.
        let file = tempfile::tempfile_in(&self.folder).map_err(fail(&self.folder))?;
        let mut writer = BufWriter::with_capacity(BUFFER, file);
        let mut bytes = Vec::new();
        for entry in entries {
            bytes.clear();
            entry?.append(&mut bytes);
            writer.write_all(&bytes).map_err(|error| fail(&self.folder)(error))?;
        }
        writer
            .into_inner()
            .map_err(|error| fail(&self.folder)(error.into_error()))
    }

    /// Merges all runs into one sorted sequence; duplicates are kept.
    pub fn merged(self) -> Result<Merged<E>> {
        let mut readers = Vec::new();
        for mut file in self.files {
            file.rewind().map_err(OperatorError::io(&self.folder))?;
            readers.push(BufReader::with_capacity(BUFFER, file));
        }
        let mut merged = Merged {
            folder: self.folder,
            readers,
            next: BinaryHeap::new(),
        };
        for (index, reader) in merged.readers.iter_mut().enumerate() {
            if let Some(entry) = read(reader, &merged.folder)? {
                merged.next.push(Reverse((entry, index)));
            }
        }
        Ok(merged)
    }
}

impl<K: Eq> Runs<(K, u64)>
where
    (K, u64): Entry,
{
    /// Calls `each` for each distinct key in ascending order, with the sum of its counts.
    pub fn totals(self, mut each: impl FnMut(K, u64) -> Result<()>) -> Result<()> {
        let mut current: Option<(K, u64)> = None;
        for entry in self.merged()? {
            let (key, count) = entry?;
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

/// Iterator over the merged records.
pub struct Merged<E> {
    folder: PathBuf,
    readers: Vec<BufReader<File>>,
    next: BinaryHeap<Reverse<(E, usize)>>,
}

impl<E: Entry> Iterator for Merged<E> {
    type Item = Result<E>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first = self.next.peek_mut()?;
        let index = first.0.1;
        // The run's next record takes the place of this one in the heap.
        let Reverse((entry, _)) = match read(&mut self.readers[index], &self.folder) {
            Ok(Some(entry)) => std::mem::replace(&mut *first, Reverse((entry, index))),
            Ok(None) => PeekMut::pop(first),
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(entry))
    }
}

/// The next record of a run, or `None` at its end.
fn read<E: Entry>(reader: &mut BufReader<File>, folder: &Path) -> Result<Option<E>> {
    let entry = reader
        .fill_buf()
        .map(<[u8]>::is_empty)
        .and_then(|over| if over { Ok(None) } else { E::read(reader).map(Some) });
    // Only an error needs the folder, and records are many.
    entry.map_err(|error| OperatorError::io(folder)(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_runs_are_one_order_and_equal_keys_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = Runs::in_folder(folder.path());
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
        let mut runs = Runs::in_folder(folder.path());
        let entry = |text: &str, number| (Box::<[u8]>::from(text.as_bytes()), number);
        runs.write(vec![entry("b", 1), entry("", 2), entry("ab", 3)]).unwrap();
        runs.write(vec![entry("a", 4), entry("b", 0)]).unwrap();
        let all: Vec<_> = runs.merged().unwrap().map(Result::unwrap).collect();
        let expected = [
            entry("", 2),
            entry("a", 4),
            entry("ab", 3),
            entry("b", 0),
            entry("b", 1),
        ];
        assert_eq!(all, expected);
    }
}
