//! Counts that do not fit into memory: sorted runs in files, merged while they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::count::Key;
use crate::contract::{OperatorError, Result};

/// Complete counts: in memory in any order, or in runs that are sorted by key and hold a key more than once.
pub(super) enum Tally<K> {
    Memory(Vec<(K, u64)>),
    /// The runs, and how many entries may be in memory at once.
    Disk(Runs, usize),
}

/// Files of sorted entries in a folder.
#[derive(Debug)]
pub(super) struct Runs {
    folder: PathBuf,
    files: Vec<File>,
}

impl Runs {
    /// No runs yet.
    pub(super) fn in_folder(folder: &Path) -> Self {
        Runs {
            folder: folder.to_owned(),
            files: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes the entries as one more run, in order of their keys.
    pub(super) fn write<K: Key>(&mut self, mut entries: Vec<(K, u64)>) -> Result<()> {
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut bytes = Vec::new();
        self.write_sorted(entries.into_iter().map(|(key, count)| {
            bytes.clear();
            key.to_bytes(&mut bytes);
            (bytes.clone(), count)
        }))
    }

    fn write_sorted(&mut self, entries: impl Iterator<Item = (Vec<u8>, u64)>) -> Result<()> {
        let fail = |folder: &Path| OperatorError::io(folder.to_owned());
        // A file without a name is gone with its handle, however the process ends.
        let file = tempfile::tempfile_in(&self.folder).map_err(fail(&self.folder))?;
        let mut writer = BufWriter::with_capacity(1 << 16, file);
        for (key, count) in entries {
            writer
                .write_all(&(key.len() as u32).to_le_bytes())
                .and_then(|()| writer.write_all(&key))
                .and_then(|()| writer.write_all(&count.to_le_bytes()))
                .map_err(fail(&self.folder))?;
        }
        let file = writer
            .into_inner()
            .map_err(|error| fail(&self.folder)(error.into_error()))?;
        self.files.push(file);
        Ok(())
    }

    /// All entries in order of their bytes; an entry that is in several runs comes several times.
    fn merged(self) -> Result<Merged> {
        let mut readers = Vec::new();
        for mut file in self.files {
            use std::io::Seek;
            file.rewind().map_err(OperatorError::io(&self.folder))?;
            readers.push(BufReader::with_capacity(1 << 16, file));
        }
        let mut merged = Merged {
            folder: self.folder,
            readers,
            next: BinaryHeap::new(),
        };
        for index in 0..merged.readers.len() {
            merged.advance(index)?;
        }
        Ok(merged)
    }

    /// Calls `each` with the entries in order of their keys, the counts of equal keys added up.
    pub(super) fn totals<K: Key>(self, mut each: impl FnMut(K, u64) -> Result<()>) -> Result<()> {
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

    /// Writes entries as one more run, in order of their rank: count descending, then key ascending.
    pub(super) fn write_ranked<K: Key>(&mut self, mut entries: Vec<(K, u64)>) -> Result<()> {
        K::rank(&mut entries);
        self.write_sorted(entries.into_iter().map(|(key, count)| {
            let mut bytes = (!count).to_be_bytes().to_vec();
            key.to_bytes(&mut bytes);
            (bytes, count)
        }))
    }

    /// Calls `each` with the entries of runs that [`Runs::write_ranked`] wrote, in order of their rank.
    pub(super) fn ranked<K: Key>(self, mut each: impl FnMut(K, u64) -> Result<()>) -> Result<()> {
        let mut merged = self.merged()?;
        while let Some((key, count)) = merged.pop()? {
            each(K::from_bytes(&key[8..]), count)?;
        }
        Ok(())
    }
}

struct Merged {
    folder: PathBuf,
    readers: Vec<BufReader<File>>,
    next: BinaryHeap<Reverse<(Vec<u8>, usize, u64)>>,
}

impl Merged {
    fn pop(&mut self) -> Result<Option<(Vec<u8>, u64)>> {
        let Some(Reverse((key, index, count))) = self.next.pop() else {
            return Ok(None);
        };
        self.advance(index)?;
        Ok(Some((key, count)))
    }

    /// Puts the next entry of a run, if there is one, among those to choose from.
    fn advance(&mut self, index: usize) -> Result<()> {
        let reader = &mut self.readers[index];
        let mut length = [0; 4];
        match reader.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(OperatorError::io(&self.folder)(error)),
        }
        let mut key = vec![0; u32::from_le_bytes(length) as usize];
        let mut count = [0; 8];
        reader
            .read_exact(&mut key)
            .and_then(|()| reader.read_exact(&mut count))
            .map_err(OperatorError::io(&self.folder))?;
        self.next.push(Reverse((key, index, u64::from_le_bytes(count))));
        Ok(())
    }
}
