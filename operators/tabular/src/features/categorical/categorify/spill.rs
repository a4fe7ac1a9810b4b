//! Frequencies beyond the memory limit.

use std::cmp::Ordering;
use std::io::{Read, Result as IoResult};

use crate::features::categorical::categorify::count::Key;
use towline_api::Result;
use towline_tables::sorted_runs::{Entry, Runs};

/// Complete frequencies: in memory in any order, or spilled to runs that are sorted by key and may repeat a key.
pub(crate) enum Tally<K> {
    Memory(Vec<(K, u64)>),
    /// The runs, and the maximum number of entries in memory.
    Disk(Runs<(K, u64)>, usize),
}

/// A value and its count, ordered by rank: count descending, then value ascending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ranked<K>((K, u64));

impl<K: Ord> Ord for Ranked<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (Ranked((key, count)), Ranked((other, others))) = (self, other);
        others.cmp(count).then_with(|| key.cmp(other))
    }
}

impl<K: Ord> PartialOrd for Ranked<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> Entry for Ranked<K>
where
    (K, u64): Entry,
{
    fn append(&self, out: &mut Vec<u8>) {
        self.0.append(out);
    }

    fn read(from: &mut impl Read) -> IoResult<Self> {
        Entry::read(from).map(Ranked)
    }
}

/// Sorts entries by rank and writes them as a run.
pub(crate) fn write_ranked<K: Key>(runs: &mut Runs<Ranked<K>>, mut entries: Vec<(K, u64)>) -> Result<()>
where
    (K, u64): Entry,
{
    K::rank(&mut entries);
    runs.write_sorted(entries.into_iter().map(Ranked))
}

/// Calls `each` with the entries of all runs in order of rank.
pub(crate) fn ranked<K: Key>(runs: Runs<Ranked<K>>, mut each: impl FnMut(K, u64) -> Result<()>) -> Result<()>
where
    (K, u64): Entry,
{
    for entry in runs.merged()? {
        let Ranked((key, count)) = entry?;
        each(key, count)?;
    }
    Ok(())
}
