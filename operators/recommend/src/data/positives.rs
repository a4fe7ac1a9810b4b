//! The positives of each user (items with an interaction), in memory or on disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use towline_kernels::Positives;

use towline_api::{OperatorError, Result};
use towline_tables::spill::external_sort::SortedRuns;

/// Number of pairs in memory before they are spilled: 4 MB.
const PENDING: usize = 1 << 18;

/// Collects (user, item) pairs.
#[derive(Debug)]
pub(crate) enum PositivesBuilder {
    /// All pairs in memory.
    Memory(Vec<(u32, u32)>),
    /// Sorted runs in files.
    Runs {
        /// Spill folder.
        folder: PathBuf,
        /// Pairs that are not spilled yet.
        pending: Vec<(i64, u64)>,
        /// Spilled pairs.
        runs: SortedRuns<i64>,
    },
}

/// The positives of each user.
#[derive(Debug)]
pub(crate) enum UserPositives {
    /// In memory.
    Memory(Positives),
    /// A file of items ordered by user, and the positives of the current batch.
    File {
        /// The file.
        file: File,
        /// Its folder, for error messages.
        folder: PathBuf,
        /// Start of each user's items, and the end of the last user's.
        offsets: Vec<u64>,
        /// The positives of the current batch.
        batch: Positives,
    },
}

impl PositivesBuilder {
    /// Collects pairs in spill files in `folder`.
    pub(crate) fn in_files(folder: &Path) -> Self {
        PositivesBuilder::Runs {
            folder: folder.to_owned(),
            pending: Vec::new(),
            runs: SortedRuns::in_folder(folder),
        }
    }

    /// Adds a pair.
    pub(crate) fn add(&mut self, user: u32, item: u32) -> Result<()> {
        match self {
            PositivesBuilder::Memory(pairs) => pairs.push((user, item)),
            PositivesBuilder::Runs { pending, runs, .. } => {
                pending.push((i64::from(user), u64::from(item)));
                if pending.len() == PENDING {
                    runs.write(std::mem::take(pending))?;
                }
            }
        }
        Ok(())
    }

    /// Removes duplicates and finishes.
    pub(crate) fn finish(self) -> Result<UserPositives> {
        let (folder, pending, mut runs) = match self {
            PositivesBuilder::Memory(pairs) => return Ok(UserPositives::Memory(ordered(pairs))),
            PositivesBuilder::Runs { folder, pending, runs } => (folder, pending, runs),
        };
        runs.write(pending)?;
        let file = tempfile::tempfile_in(&folder).map_err(OperatorError::io(&folder))?;
        let mut out = BufWriter::new(file);
        let (mut offsets, mut written, mut before) = (vec![0_u64], 0_u64, None);
        for pair in runs.merged()? {
            let (user, item) = pair?;
            if before.replace((user, item)) == Some((user, item)) {
                continue;
            }
            offsets.resize(user as usize + 1, written);
            out.write_all(&(item as u32).to_le_bytes())
                .map_err(|error| OperatorError::io(&folder)(error))?;
            written += 1;
        }
        offsets.push(written);
        let file = out
            .into_inner()
            .map_err(|error| OperatorError::io(&folder)(error.into_error()))?;
        Ok(UserPositives::File {
            file,
            folder,
            offsets,
            batch: Positives::default(),
        })
    }
}

fn ordered(mut pairs: Vec<(u32, u32)>) -> Positives {
    pairs.sort_unstable();
    pairs.dedup();
    let users = pairs.last().map_or(0, |(user, _)| *user as usize + 1);
    Positives::new(users, &pairs)
}

impl UserPositives {
    /// The positives of these users in ascending order, and the index of each user in them.
    pub(crate) fn of(&mut self, users: &[Option<u32>]) -> Result<(&Positives, Vec<Option<u32>>)> {
        match self {
            UserPositives::Memory(positives) => Ok((positives, users.to_vec())),
            UserPositives::File {
                file,
                folder,
                offsets,
                batch,
            } => {
                let mut numbers: BTreeMap<u32, u32> = users.iter().flatten().map(|user| (*user, 0)).collect();
                let mut pairs = Vec::new();
                for (number, (user, place)) in (0..).zip(&mut numbers) {
                    *place = number;
                    let [start, end] = [0, 1].map(|next| offsets.get(*user as usize + next).copied().unwrap_or(0));
                    let mut items = vec![[0; 4]; end.saturating_sub(start) as usize];
                    file.read_exact_at(items.as_flattened_mut(), 4 * start)
                        .map_err(OperatorError::io(&*folder))?;
                    pairs.extend(items.into_iter().map(|item| (number, u32::from_le_bytes(item))));
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
        let mut memory = PositivesBuilder::Memory(Vec::new());
        let mut files = PositivesBuilder::in_files(folder.path());
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
