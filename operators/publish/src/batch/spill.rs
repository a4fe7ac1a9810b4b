//! Spill: keys of a generation in bounded memory, partitioned by hash and spilled to disk.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use towline_api::{OperatorError, Result};

/// Number of partitions; one of 100 million keys has 50 MB.
pub(crate) const PARTS: usize = 64;
/// Memory limit before spilling: a million rows.
const MEMORY: usize = 32 << 20;

/// Item that can be spilled.
pub(crate) trait Spillable: Sized {
    /// Hash of the key; its top bits choose the partition.
    fn hash(&self) -> u128;
    /// Appends the encoded item.
    fn write(&self, out: &mut Vec<u8>);
    /// Decodes an item; `None` at the end.
    fn read(from: &mut impl Read) -> std::io::Result<Option<Self>>;
}

/// Key of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CurrentKey {
    pub(crate) hash: u128,
    pub(crate) digest: u64,
    /// Index among all keys.
    pub(crate) row: u64,
}

/// Recorded key of an earlier generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreviousKey {
    pub(crate) hash: u128,
    pub(crate) digest: u64,
    pub(crate) key: Vec<u8>,
}

impl PreviousKey {
    /// Key with the digest of its document.
    pub(crate) fn of(digest: u64, key: &[u8]) -> Self {
        PreviousKey {
            hash: xxh3_128(key),
            digest,
            key: key.to_vec(),
        }
    }
}

impl Spillable for CurrentKey {
    fn hash(&self) -> u128 {
        self.hash
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.extend_from_slice(&self.digest.to_le_bytes());
        out.extend_from_slice(&self.row.to_le_bytes());
    }

    fn read(from: &mut impl Read) -> std::io::Result<Option<Self>> {
        let Some(hash) = next(from)? else { return Ok(None) };
        Ok(Some(CurrentKey {
            hash: u128::from_le_bytes(hash),
            digest: u64::from_le_bytes(exactly(from)?),
            row: u64::from_le_bytes(exactly(from)?),
        }))
    }
}

impl Spillable for PreviousKey {
    fn hash(&self) -> u128 {
        self.hash
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.extend_from_slice(&self.digest.to_le_bytes());
        out.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.key);
    }

    fn read(from: &mut impl Read) -> std::io::Result<Option<Self>> {
        let Some(hash) = next(from)? else { return Ok(None) };
        let digest = u64::from_le_bytes(exactly(from)?);
        let mut key = vec![0; u32::from_le_bytes(exactly(from)?) as usize];
        from.read_exact(&mut key)?;
        Ok(Some(PreviousKey {
            hash: u128::from_le_bytes(hash),
            digest,
            key,
        }))
    }
}

fn exactly<const N: usize>(from: &mut impl Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The next bytes; `None` at the end.
pub(crate) fn next<const N: usize>(from: &mut impl Read) -> std::io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match from.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Partitioned items.
pub(crate) struct Spill<T> {
    folder: PathBuf,
    /// Encoded items in memory, per partition.
    parts: Vec<Vec<u8>>,
    /// Bytes in memory.
    bytes: usize,
    /// File per partition, after the first spill.
    files: Vec<File>,
    kind: std::marker::PhantomData<T>,
}

impl<T: Spillable> Spill<T> {
    /// Empty spill; `folder` is for its files.
    pub(crate) fn new(folder: &Path) -> Self {
        // A failed attempt may have left files.
        let _ = std::fs::remove_dir_all(folder);
        Spill {
            folder: folder.to_owned(),
            parts: vec![Vec::new(); PARTS],
            bytes: 0,
            files: Vec::new(),
            kind: std::marker::PhantomData,
        }
    }

    /// Adds an item.
    pub(crate) fn push(&mut self, item: &T) -> Result<()> {
        let part = &mut self.parts[(item.hash() >> 122) as usize];
        let before = part.len();
        item.write(part);
        self.bytes += part.len() - before;
        if self.bytes > MEMORY { self.spill() } else { Ok(()) }
    }

    /// Writes all partitions to disk.
    fn spill(&mut self) -> Result<()> {
        if self.files.is_empty() {
            std::fs::create_dir_all(&self.folder).map_err(OperatorError::io(&self.folder))?;
            let create = |part: usize| {
                let path = self.folder.join(part.to_string());
                File::create(&path).map_err(OperatorError::io(path))
            };
            self.files = (0..PARTS).map(create).collect::<Result<_>>()?;
        }
        for (part, file) in self.parts.iter_mut().zip(&mut self.files) {
            file.write_all(part).map_err(OperatorError::io(&self.folder))?;
            part.clear();
        }
        self.bytes = 0;
        Ok(())
    }

    /// Finishes writing.
    pub(crate) fn finish(mut self) -> Result<Spilled<T>> {
        let spilled = !self.files.is_empty();
        if spilled {
            self.spill()?;
            self.parts = Vec::new();
        }
        Ok(Spilled {
            folder: self.folder,
            parts: self.parts,
            kind: std::marker::PhantomData,
        })
    }
}

/// Partitioned items, ready to be read.
pub(crate) struct Spilled<T> {
    folder: PathBuf,
    /// Partitions in memory, if nothing was spilled.
    parts: Vec<Vec<u8>>,
    kind: std::marker::PhantomData<T>,
}

impl<T: Spillable> Spilled<T> {
    /// Items of a partition in the order in which they were added.
    pub(crate) fn part(&self, part: usize) -> Result<impl Iterator<Item = Result<T>>> {
        let path = self.folder.join(part.to_string());
        let mut reader = match self.parts.get(part) {
            Some(bytes) => Part::Memory(bytes),
            None => Part::Disk(BufReader::new(File::open(&path).map_err(OperatorError::io(&path))?)),
        };
        Ok(std::iter::from_fn(move || {
            T::read(&mut reader).map_err(OperatorError::io(&path)).transpose()
        }))
    }
}

/// Source of a partition.
enum Part<'a> {
    Memory(&'a [u8]),
    Disk(BufReader<File>),
}

impl Read for Part<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Part::Memory(bytes) => bytes.read(out),
            Part::Disk(file) => file.read(out),
        }
    }

    fn read_exact(&mut self, out: &mut [u8]) -> std::io::Result<()> {
        match self {
            Part::Memory(bytes) => bytes.read_exact(out),
            Part::Disk(file) => file.read_exact(out),
        }
    }
}

/// First key of `found` that is not in `known`.
pub(crate) fn first_unknown_key(found: &Spilled<PreviousKey>, known: &Spilled<PreviousKey>) -> Result<Option<Vec<u8>>> {
    for part in 0..PARTS {
        let known = known.part(part)?.map(|key| Ok(key?.hash));
        let known: hashbrown::HashSet<u128> = known.collect::<Result<_>>()?;
        for key in found.part(part)? {
            let key = key?;
            if !known.contains(&key.hash) {
                return Ok(Some(key.key));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_into_memory_is_the_same_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(&folder.path().join("rows"));
        let count = (MEMORY / 32 + 1000) as u64;
        let row = |row: u64| CurrentKey {
            hash: u128::from(row) << 107 | u128::from(row),
            digest: !row,
            row,
        };
        for number in 0..count {
            spill.push(&row(number)).unwrap();
        }
        let spilled = spill.finish().unwrap();
        assert!(folder.path().join("rows").is_dir());
        let mut seen = 0;
        for part in 0..PARTS {
            for item in spilled.part(part).unwrap() {
                let item = item.unwrap();
                assert_eq!(item, row(item.row));
                assert_eq!((item.hash >> 122) as usize, part);
                seen += 1;
            }
        }
        assert_eq!(seen, count);
    }

    #[test]
    fn who_is_not_known_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let keys = |name: &str, keys: &[u32]| {
            let mut spill = Spill::new(&folder.path().join(name));
            for key in keys {
                spill.push(&PreviousKey::of(0, key.to_string().as_bytes())).unwrap();
            }
            spill.finish().unwrap()
        };
        let known = keys("known", &(0..1000).collect::<Vec<_>>());
        assert_eq!(first_unknown_key(&keys("some", &[5, 999, 5]), &known).unwrap(), None);
        assert_eq!(
            first_unknown_key(&keys("one", &[5, 1000]), &known).unwrap(),
            Some(b"1000".to_vec())
        );
    }
}
