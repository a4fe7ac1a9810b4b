//! Entries that do not fit into memory: sorted runs in files, merged while they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::contract::{OperatorError, Result};

/// Files that may be open at once; with this many, they become one.
const MOST_FILES: usize = 64;

/// A key, and its bytes in a run: they order like the keys.
pub(crate) trait RunKey: Ord {
    /// Appends the bytes.
    fn to_bytes(&self, out: &mut Vec<u8>);
    /// The key that these are the bytes of.
    fn from_bytes(bytes: &[u8]) -> Self;
}

impl RunKey for i64 {
    fn to_bytes(&self, out: &mut Vec<u8>) {
        out.extend((*self ^ i64::MIN).to_be_bytes());
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[..8]);
        i64::from_be_bytes(word) ^ i64::MIN
    }
}

impl RunKey for Box<[u8]> {
    fn to_bytes(&self, out: &mut Vec<u8>) {
        out.extend(self.iter());
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Box::from(bytes)
    }
}

/// Files of sorted entries in a folder: keys, each with a number.
#[derive(Debug)]
pub(crate) struct Runs {
    folder: PathBuf,
    files: Vec<File>,
}

impl Runs {
    /// No runs yet.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Runs {
            folder: folder.to_owned(),
            files: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes the entries as one more run, in order of their keys.
    pub(crate) fn write<K: RunKey>(&mut self, mut entries: Vec<(K, u64)>) -> Result<()> {
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.write_sorted(entries.into_iter().map(|(key, count)| {
            let mut bytes = Vec::new();
            key.to_bytes(&mut bytes);
            (bytes, count)
        }))
    }

    /// Writes a run of entries that are in the order of their bytes.
    pub(crate) fn write_sorted(&mut self, entries: impl Iterator<Item = (Vec<u8>, u64)>) -> Result<()> {
        let file = self.written(entries.map(Ok))?;
        self.files.push(file);
        if self.files.len() == MOST_FILES {
            let mut merged = std::mem::replace(self, Runs::in_folder(&self.folder)).merged()?;
            let file = self.written(std::iter::from_fn(|| merged.pop().transpose()))?;
            self.files.push(file);
        }
        Ok(())
    }

    fn written(&self, entries: impl Iterator<Item = Result<(Vec<u8>, u64)>>) -> Result<File> {
        let fail = |folder: &Path| OperatorError::io(folder.to_owned());
        // A file without a name is gone with its handle, however the process ends.
        let file = tempfile::tempfile_in(&self.folder).map_err(fail(&self.folder))?;
        let mut writer = BufWriter::with_capacity(1 << 16, file);
        for entry in entries {
            let (key, count) = entry?;
            writer
                .write_all(&(key.len() as u32).to_le_bytes())
                .and_then(|()| writer.write_all(&key))
                .and_then(|()| writer.write_all(&count.to_le_bytes()))
                .map_err(fail(&self.folder))?;
        }
        writer
            .into_inner()
            .map_err(|error| fail(&self.folder)(error.into_error()))
    }

    /// All entries in order of their bytes; an entry that is in several runs comes several times.
    pub(crate) fn merged(self) -> Result<Merged> {
        let mut readers = Vec::new();
        for mut file in self.files {
            file.rewind().map_err(OperatorError::io(&self.folder))?;
            readers.push(BufReader::with_capacity(1 << 16, file));
        }
        let mut merged = Merged {
            folder: self.folder,
            readers,
            next: BinaryHeap::new(),
        };
        for (index, reader) in merged.readers.iter_mut().enumerate() {
            if let Some((key, count)) = read(reader, &merged.folder)? {
                merged.next.push(Reverse((key, index, count)));
            }
        }
        Ok(merged)
    }

    /// Calls `each` with the entries in order of their keys, the counts of equal keys added up.
    pub(crate) fn totals<K: RunKey>(self, mut each: impl FnMut(K, u64) -> Result<()>) -> Result<()> {
        let mut merged = self.merged()?;
        let mut current: Option<(Vec<u8>, u64)> = None;
        while let Some((key, count)) = merged.pop()? {
            match &mut current {
                Some((same, total)) if *same == key => *total += count,
                _ => {
                    if let Some((key, total)) = current.replace((key, count)) {
                        each(K::from_bytes(&key), total)?;
                    }
                }
            }
        }
        match current {
            Some((key, total)) => each(K::from_bytes(&key), total),
            None => Ok(()),
        }
    }
}

/// The entries of several runs.
pub(crate) struct Merged {
    folder: PathBuf,
    readers: Vec<BufReader<File>>,
    next: BinaryHeap<Reverse<(Vec<u8>, usize, u64)>>,
}

impl Merged {
    /// The next entry: the bytes of its key, and its number.
    pub(crate) fn pop(&mut self) -> Result<Option<(Vec<u8>, u64)>> {
        let Some(mut first) = self.next.peek_mut() else {
            return Ok(None);
        };
        let index = first.0.1;
        // The next entry of the run takes the place of this one.
        let Reverse((key, _, count)) = match read(&mut self.readers[index], &self.folder)? {
            Some((key, count)) => std::mem::replace(&mut *first, Reverse((key, index, count))),
            None => PeekMut::pop(first),
        };
        Ok(Some((key, count)))
    }
}

/// The next entry of a run, if there is one.
fn read(reader: &mut BufReader<File>, folder: &Path) -> Result<Option<(Vec<u8>, u64)>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(OperatorError::io(folder)(error)),
    }
    let mut key = vec![0; u32::from_le_bytes(length) as usize];
    let mut count = [0; 8];
    reader
        .read_exact(&mut key)
        .and_then(|()| reader.read_exact(&mut count))
        .map_err(OperatorError::io(folder))?;
    Ok(Some((key, u64::from_le_bytes(count))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_runs_are_one_order_and_equal_keys_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = Runs::in_folder(folder.path());
        // So many that files are put together twice.
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
}
