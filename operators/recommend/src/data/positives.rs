//! The positives of each user (items with an interaction), in memory or on disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use towline_kernels::Positives;

use crate::data::row_blocks::many;
use towline_api::{OperatorError, Result};

/// Number of spill files: pairs are partitioned by user, so each file can be sorted in memory.
const PARTS: usize = 64;

/// Collects (user, item) pairs.
#[derive(Debug)]
pub(crate) enum Gathering {
    /// All pairs in memory.
    Memory(Vec<(u32, u32)>),
    /// Spill files with `per_part` users each.
    Files {
        /// Spill folder.
        folder: PathBuf,
        /// Users per file.
        per_part: u32,
        /// Spill files.
        parts: Vec<BufWriter<File>>,
    },
}

/// The positives of each user.
#[derive(Debug)]
pub(crate) enum Liked {
    /// In memory.
    Memory(Positives),
    /// A file of items ordered by user, and the positives of the current batch.
    File {
        /// The file.
        file: File,
        /// Its path, for error messages.
        path: PathBuf,
        /// Start of each user's items, and the end of the last user's.
        offsets: Vec<u64>,
        /// The positives of the current batch.
        batch: Positives,
    },
}

fn part(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("pairs-{index}"))
}

impl Gathering {
    /// Collects pairs in spill files in `folder`; user indexes are below `users`.
    pub(crate) fn in_files(folder: &Path, users: u64) -> Result<Self> {
        let create = |index| {
            let path = part(folder, index);
            File::create(&path)
                .map(BufWriter::new)
                .map_err(OperatorError::io(&path))
        };
        Ok(Gathering::Files {
            folder: folder.to_owned(),
            per_part: (users.div_ceil(PARTS as u64).max(1)).min(u64::from(u32::MAX)) as u32,
            parts: (0..PARTS).map(create).collect::<Result<_>>()?,
        })
    }

    /// Adds a pair.
    pub(crate) fn add(&mut self, user: u32, item: u32) -> Result<()> {
        match self {
            Gathering::Memory(pairs) => pairs.push((user, item)),
            Gathering::Files {
                folder,
                per_part,
                parts,
            } => {
                let index = ((user / *per_part) as usize).min(PARTS - 1);
                let [a, b] = [user, item].map(u32::to_le_bytes);
                let written = parts[index].write_all(&a).and_then(|()| parts[index].write_all(&b));
                written.map_err(OperatorError::io(&part(folder, index)))?;
            }
        }
        Ok(())
    }

    /// Removes duplicates and finishes.
    pub(crate) fn finish(self) -> Result<Liked> {
        let (folder, parts) = match self {
            Gathering::Memory(pairs) => return Ok(Liked::Memory(ordered(pairs))),
            Gathering::Files { folder, parts, .. } => (folder, parts),
        };
        let path = folder.join("liked");
        let io = || OperatorError::io(&path);
        let mut out = BufWriter::new(File::create(&path).map_err(io())?);
        let (mut offsets, mut written) = (vec![0_u64], 0_u64);
        for (index, mut file) in parts.into_iter().enumerate() {
            let path = part(&folder, index);
            file.flush().map_err(OperatorError::io(&path))?;
            let bytes = std::fs::read(&path).map_err(OperatorError::io(&path))?;
            let mut pairs: Vec<(u32, u32)> = pairs_of(&bytes);
            pairs.sort_unstable();
            pairs.dedup();
            for (user, item) in pairs {
                offsets.resize(user as usize + 1, written);
                out.write_all(&item.to_le_bytes()).map_err(io())?;
                written += 1;
            }
            std::fs::remove_file(&path).map_err(OperatorError::io(&path))?;
        }
        offsets.push(written);
        out.flush().map_err(io())?;
        Ok(Liked::File {
            file: File::open(&path).map_err(io())?,
            offsets,
            batch: Positives::default(),
            path,
        })
    }
}

fn pairs_of(bytes: &[u8]) -> Vec<(u32, u32)> {
    let pairs = bytes.as_chunks::<8>().0.iter();
    let number = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    pairs.map(|pair| (number(&pair[..4]), number(&pair[4..]))).collect()
}

fn ordered(mut pairs: Vec<(u32, u32)>) -> Positives {
    pairs.sort_unstable();
    pairs.dedup();
    let users = pairs.last().map_or(0, |(user, _)| *user as usize + 1);
    Positives::new(users, &pairs)
}

impl Liked {
    /// The positives of these users in ascending order, and the index of each user in them.
    pub(crate) fn of(&mut self, users: &[Option<u32>]) -> Result<(&Positives, Vec<Option<u32>>)> {
        match self {
            Liked::Memory(positives) => Ok((positives, users.to_vec())),
            Liked::File {
                file,
                path,
                offsets,
                batch,
            } => {
                let mut numbers: BTreeMap<u32, u32> = users.iter().flatten().map(|user| (*user, 0)).collect();
                let mut pairs = Vec::new();
                for (number, (user, place)) in (0..).zip(&mut numbers) {
                    *place = number;
                    let [start, end] = [0, 1].map(|next| offsets.get(*user as usize + next).copied().unwrap_or(0));
                    let mut bytes = vec![0; 4 * end.saturating_sub(start) as usize];
                    let found = file
                        .seek(SeekFrom::Start(4 * start))
                        .and_then(|_| file.read_exact(&mut bytes));
                    found.map_err(OperatorError::io(&*path))?;
                    let items = many(&mut bytes.as_slice(), bytes.len() / 4, u32::from_le_bytes);
                    pairs.extend(items.unwrap_or_default().into_iter().map(|item| (number, item)));
                }
                *batch = Positives::new(numbers.len(), &pairs);
                let known = |user: &Option<u32>| user.and_then(|user| numbers.get(&user).copied());
                Ok((batch, users.iter().map(known).collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_file_it_is_what_it_is_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = Gathering::Memory(Vec::new());
        let mut files = Gathering::in_files(folder.path(), 500).unwrap();
        for number in 0..3000_u32 {
            let (user, item) = (number * 37 % 499, number * 11 % 40);
            if user % 7 != 3 {
                memory.add(user, item).unwrap();
                files.add(user, item).unwrap();
            }
        }
        let (mut memory, mut file) = (memory.finish().unwrap(), files.finish().unwrap());
        let users = [Some(4), None, Some(498), Some(0), Some(4), Some(3)];
        let (of_memory, names) = memory.of(&users).unwrap();
        let expected: Vec<Vec<u32>> = names
            .iter()
            .flatten()
            .map(|user| of_memory.of(*user).to_vec())
            .collect();
        let (of_file, names) = file.of(&users).unwrap();
        let found: Vec<Vec<u32>> = names.iter().flatten().map(|user| of_file.of(*user).to_vec()).collect();
        assert_eq!((found.len(), &found, names[1]), (5, &expected, None));
        assert!(found[0].len() > 1 && found[4].is_empty());
    }
}
