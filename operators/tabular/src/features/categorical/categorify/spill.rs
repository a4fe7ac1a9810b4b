//! Frequencies beyond the memory limit.

use std::cmp::Ordering;

use crate::features::categorical::categorify::count::Key;
use towline_api::Result;
use towline_tables::spill::external_sort::{RecordOrder, SortedRuns};

/// The order of a vocabulary: count descending, then value ascending.
pub(crate) struct ByRank;

impl RecordOrder for ByRank {
    fn compare<K: Ord>(a: &(K, u64), b: &(K, u64)) -> Ordering {
        b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0))
    }
}

/// Sorts entries by rank and writes them as a run.
pub(crate) fn write_ranked<K: Key>(runs: &mut SortedRuns<K, ByRank>, mut entries: Vec<(K, u64)>) -> Result<()> {
    K::rank(&mut entries);
    runs.write_sorted(entries)
}
