//! Counts that do not fit into memory.

use super::count::Key;
use crate::contract::Result;
use crate::sorted_runs::Runs;

/// Complete counts: in memory in any order, or in runs that are sorted by key and hold a key more than once.
pub(super) enum Tally<K> {
    Memory(Vec<(K, u64)>),
    /// The runs, and how many entries may be in memory at once.
    Disk(Runs, usize),
}

/// Writes entries as one more run, in order of their rank: count descending, then key ascending.
pub(super) fn write_ranked<K: Key>(runs: &mut Runs, mut entries: Vec<(K, u64)>) -> Result<()> {
    K::rank(&mut entries);
    runs.write_sorted(entries.into_iter().map(|(key, count)| {
        let mut bytes = (!count).to_be_bytes().to_vec();
        key.to_bytes(&mut bytes);
        (bytes, count)
    }))
}

/// Calls `each` with the entries of runs that [`write_ranked`] wrote, in order of their rank.
pub(super) fn ranked<K: Key>(runs: Runs, mut each: impl FnMut(K, u64) -> Result<()>) -> Result<()> {
    let mut merged = runs.merged()?;
    while let Some((key, count)) = merged.pop()? {
        each(K::from_bytes(&key[8..]), count)?;
    }
    Ok(())
}
