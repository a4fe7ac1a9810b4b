//! Keys of a whole generation, compared with those of another in bounded memory: parted by hash, spilt to disk when they are
//! many, and joined part by part.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::contract::{OperatorError, Result};

/// Parts that a generation is spilt into; a part of 100 million keys is 50 MB.
const PARTS: usize = 64;
/// Bytes that are kept in memory before they are spilt: a million rows.
const MEMORY: usize = 32 << 20;

/// Something that is spilt, and comes back part by part.
pub(super) trait Spilt: Sized {
    /// The hash of the key; its top bits choose the part.
    fn hash(&self) -> u128;
    /// Appends its bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads one back; `None` at the end.
    fn read(from: &mut impl Read) -> std::io::Result<Option<Self>>;
}

/// A key of the generation that is published now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) hash: u128,
    pub(super) digest: u64,
    /// Its place among all keys.
    pub(super) row: u64,
}

/// A key of an earlier generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Earlier {
    pub(super) hash: u128,
    pub(super) digest: u64,
    pub(super) key: Vec<u8>,
}

impl Spilt for Row {
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
        Ok(Some(Row {
            hash: u128::from_le_bytes(hash),
            digest: u64::from_le_bytes(exactly(from)?),
            row: u64::from_le_bytes(exactly(from)?),
        }))
    }
}

impl Spilt for Earlier {
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
        Ok(Some(Earlier {
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

fn next<const N: usize>(from: &mut impl Read) -> std::io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match from.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The keys of a generation, parted by hash.
pub(super) struct Spill<T> {
    folder: PathBuf,
    /// What is not spilt yet, of each part.
    parts: Vec<Vec<u8>>,
    /// The bytes of all that is not spilt.
    bytes: usize,
    /// The files of the parts, once something was spilt.
    files: Vec<File>,
    kind: std::marker::PhantomData<T>,
}

impl<T: Spilt> Spill<T> {
    /// An empty one, with a folder of its own for what does not fit into memory.
    pub(super) fn new(folder: &Path) -> Self {
        // What an earlier attempt left is of no use.
        let _ = std::fs::remove_dir_all(folder);
        Spill {
            folder: folder.to_owned(),
            parts: vec![Vec::new(); PARTS],
            bytes: 0,
            files: Vec::new(),
            kind: std::marker::PhantomData,
        }
    }

    /// Adds one.
    pub(super) fn push(&mut self, item: &T) -> Result<()> {
        let part = &mut self.parts[(item.hash() >> 122) as usize];
        let before = part.len();
        item.write(part);
        self.bytes += part.len() - before;
        if self.bytes > MEMORY { self.spill() } else { Ok(()) }
    }

    /// Moves all parts to disk.
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

    /// Makes it ready to be read.
    pub(super) fn finish(mut self) -> Result<Spilled<T>> {
        let spilt = !self.files.is_empty();
        if spilt {
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

/// The keys of a generation, to be read.
pub(super) struct Spilled<T> {
    folder: PathBuf,
    /// The parts, if none was spilt.
    parts: Vec<Vec<u8>>,
    kind: std::marker::PhantomData<T>,
}

impl<T: Spilt> Spilled<T> {
    fn part(&self, part: usize) -> Result<impl Iterator<Item = Result<T>>> {
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

/// Where a part is read from.
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

/// What a generation is to those before it.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// By the place of a key: whether its document is the one that is published already. Empty if nothing is known.
    unchanged: Vec<u64>,
    /// Keys of earlier generations that this one does not have, each with its length before it.
    stale: Option<PathBuf>,
}

impl Changes {
    /// Compares the rows with what was published before. The error of the outer result is one of reading; that of the inner
    /// is the place of a key that occurs twice. `current` says whether the digests of the earlier generation are known to be
    /// those of what is published.
    pub(super) fn find(
        rows: &Spilled<Row>,
        keys: u64,
        earlier: Option<&Spilled<Earlier>>,
        current: bool,
        stale: &Path,
    ) -> Result<Result<Self, u64>> {
        let mut changes = Changes::default();
        if earlier.is_some() && current {
            changes.unchanged = vec![0; keys.div_ceil(64) as usize];
        }
        let file = File::create(stale).map_err(OperatorError::io(stale))?;
        let mut out = BufWriter::new(file);
        for part in 0..PARTS {
            let mut own: Vec<Row> = rows.part(part)?.collect::<Result<_>>()?;
            own.sort_unstable_by_key(|row| (row.hash, row.row));
            if let Some(twice) = own.windows(2).find(|pair| pair[0].hash == pair[1].hash) {
                return Ok(Err(twice[1].row));
            }
            let Some(earlier) = earlier else { continue };
            let mut written = hashbrown::HashSet::new();
            for old in earlier.part(part)? {
                let old = old?;
                match own.binary_search_by_key(&old.hash, |row| row.hash) {
                    Ok(at) if current && own[at].digest == old.digest => {
                        let row = own[at].row;
                        let bit = 1_u64 << (row % 64);
                        let word = &mut changes.unchanged[(row / 64) as usize];
                        *word |= bit;
                    }
                    // Several earlier generations may have had the key.
                    Err(_) if written.insert(old.hash) => {
                        out.write_all(&(old.key.len() as u32).to_le_bytes())
                            .and_then(|()| out.write_all(&old.key))
                            .map_err(OperatorError::io(stale))?;
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
        out.flush().map_err(OperatorError::io(stale))?;
        changes.stale = Some(stale.to_owned());
        Ok(Ok(changes))
    }

    /// Whether the document of the key at this place is published already.
    pub(super) fn is_unchanged(&self, row: u64) -> bool {
        self.unchanged
            .get((row / 64) as usize)
            .is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// The keys that are gone, in groups of at most `size`.
    pub(super) fn stale(&self, size: usize) -> Result<impl Iterator<Item = Result<Vec<Vec<u8>>>>> {
        let opened = self.stale.as_ref().map(|path| {
            let file = File::open(path).map_err(OperatorError::io(path))?;
            Ok::<_, OperatorError>((path.clone(), BufReader::new(file)))
        });
        let mut reader = opened.transpose()?;
        Ok(std::iter::from_fn(move || {
            let (path, reader) = reader.as_mut()?;
            let mut keys = Vec::new();
            while keys.len() < size {
                let key = next(reader).and_then(|length| {
                    let Some(length) = length else { return Ok(None) };
                    let mut key = vec![0; u32::from_le_bytes(length) as usize];
                    reader.read_exact(&mut key)?;
                    Ok(Some(key))
                });
                match key.map_err(OperatorError::io(path.clone())) {
                    Ok(Some(key)) => keys.push(key),
                    Ok(None) => break,
                    Err(error) => return Some(Err(error)),
                }
            }
            (!keys.is_empty()).then_some(Ok(keys))
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_128;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn finds_what_a_map_finds(
            before in prop::collection::btree_map(0_u32..200, 0_u64..3, 0..150),
            now in prop::collection::btree_map(0_u32..200, 0_u64..3, 1..150),
            current in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let key = |key: u32| key.to_string().into_bytes();
            let mut rows = Spill::new(&folder.path().join("rows"));
            for (row, (k, digest)) in now.iter().enumerate() {
                rows.push(&Row { hash: xxh3_128(&key(*k)), digest: *digest, row: row as u64 }).unwrap();
            }
            let mut earlier = Spill::new(&folder.path().join("earlier"));
            for (k, digest) in &before {
                earlier.push(&Earlier { hash: xxh3_128(&key(*k)), digest: *digest, key: key(*k) }).unwrap();
            }
            let changes = Changes::find(
                &rows.finish().unwrap(),
                now.len() as u64,
                Some(&earlier.finish().unwrap()),
                current,
                &folder.path().join("stale"),
            );
            let changes = changes.unwrap().unwrap();
            for (row, (k, digest)) in now.iter().enumerate() {
                let same = current && before.get(k) == Some(digest);
                prop_assert_eq!(changes.is_unchanged(row as u64), same);
            }
            let stale: Vec<Vec<u8>> = changes.stale(7).unwrap().flat_map(Result::unwrap).collect();
            let gone: BTreeSet<Vec<u8>> =
                before.keys().filter(|k| !now.contains_key(k)).map(|k| key(*k)).collect();
            prop_assert_eq!(stale.len(), gone.len(), "each once");
            prop_assert_eq!(stale.into_iter().collect::<BTreeSet<_>>(), gone);
        }
    }

    #[test]
    fn what_does_not_fit_into_memory_is_the_same_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::new(&folder.path().join("rows"));
        let count = (MEMORY / 32 + 1000) as u64;
        let row = |row: u64| Row {
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
    fn a_key_that_occurs_twice_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = Spill::new(&folder.path().join("rows"));
        for (row, key) in ["a", "b", "a"].iter().enumerate() {
            let hash = xxh3_128(key.as_bytes());
            let row = row as u64;
            rows.push(&Row { hash, digest: 0, row }).unwrap();
        }
        let stale = folder.path().join("stale");
        let found = Changes::find(&rows.finish().unwrap(), 3, None, false, &stale).unwrap();
        assert_eq!(found.unwrap_err(), 2);
    }
}
