//! Change detection between generations, in bounded memory: keys are joined partition by partition.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::batch::spill::{CurrentKey, PARTS, PreviousKey, Spilled, next};
use towline_api::{OperatorError, Result};

/// Changes of a batch against earlier generations.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Bit per key: whether its document is published already. Empty if that is unknown.
    unchanged: Vec<u64>,
    /// File of stale keys, each preceded by its length.
    stale: Option<PathBuf>,
}

impl Changes {
    /// Compares a batch with the recorded keys of earlier generations. The outer error is one of reading, the inner one the
    /// index of a duplicate key. `digests_valid` is whether the recorded digests are those of the published documents.
    pub(crate) fn detect(
        rows: &Spilled<CurrentKey>,
        keys: u64,
        previous: Option<&Spilled<PreviousKey>>,
        digests_valid: bool,
        stale: &Path,
    ) -> Result<Result<Self, u64>> {
        let mut changes = Changes::default();
        if previous.is_some() && digests_valid {
            changes.unchanged = vec![0; keys.div_ceil(64) as usize];
        }
        let file = File::create(stale).map_err(OperatorError::io(stale))?;
        let mut out = BufWriter::new(file);
        for part in 0..PARTS {
            let mut own: Vec<CurrentKey> = rows.part(part)?.collect::<Result<_>>()?;
            own.sort_unstable_by_key(|row| (row.hash, row.row));
            if let Some(twice) = own.windows(2).find(|pair| pair[0].hash == pair[1].hash) {
                return Ok(Err(twice[1].row));
            }
            let Some(previous) = previous else { continue };
            let mut written = hashbrown::HashSet::new();
            for old in previous.part(part)? {
                let old = old?;
                match own.binary_search_by_key(&old.hash, |row| row.hash) {
                    Ok(at) if digests_valid && own[at].digest == old.digest => {
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

    /// Whether the document of a key is published already.
    pub(crate) fn is_unchanged(&self, row: u64) -> bool {
        self.unchanged
            .get((row / 64) as usize)
            .is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Stale keys, in groups of at most `size`.
    pub(crate) fn stale(&self, size: usize) -> Result<impl Iterator<Item = Result<Vec<Vec<u8>>>>> {
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
    use crate::batch::spill::Spill;

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
                rows.push(&CurrentKey { hash: xxh3_128(&key(*k)), digest: *digest, row: row as u64 }).unwrap();
            }
            let mut earlier = Spill::new(&folder.path().join("earlier"));
            for (k, digest) in &before {
                earlier.push(&PreviousKey::of(*digest, &key(*k))).unwrap();
            }
            let changes = Changes::detect(
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
    fn a_key_that_occurs_twice_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = Spill::new(&folder.path().join("rows"));
        for (row, key) in ["a", "b", "a"].iter().enumerate() {
            let hash = xxh3_128(key.as_bytes());
            let row = row as u64;
            rows.push(&CurrentKey { hash, digest: 0, row }).unwrap();
        }
        let stale = folder.path().join("stale");
        let found = Changes::detect(&rows.finish().unwrap(), 3, None, false, &stale).unwrap();
        assert_eq!(found.unwrap_err(), 2);
    }
}
