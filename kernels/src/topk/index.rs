//! Items that can be searched, and the search.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::items::Items;
use super::propose::Proposed;
use super::proposer::Kernel;
use super::score::Hit;
use super::tile::Tile;
use super::{BLOCK, Excluded, LANES, MOST_DIMENSIONS, Proposer, TopKError};
use crate::in_parallel;

/// Tiles of users that go through the items together, so that a block of items is read from memory once for all of them.
const GROUP: usize = 32;
/// Items per item asked for that are looked through first, to know early what the k-th best reaches, and the fewest: in
/// bytes they cost less, and save as much. And the share of all items that this may be.
const FIRST_BYTES: (usize, usize) = (96, 4096);
const FIRST_FLOATS: (usize, usize) = (48, 1024);
const FIRST_SHARE: usize = 12;

/// What a search is asked for.
pub struct Search<'a> {
    /// Items per query; fewer where there are no more.
    pub k: usize,
    /// Threads that may be used. They change no result.
    pub threads: usize,
    /// What each query must not get.
    pub exclude: &'a (dyn Fn(usize) -> Excluded<'a> + Sync),
    /// Asked now and then: whether to give up.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Told now and then how many queries more are answered.
    pub done: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Search<'a> {
    /// The `k` best of all items, on one thread.
    pub fn best(k: usize) -> Search<'a> {
        Search {
            k,
            threads: 1,
            exclude: &|_| Excluded::Nothing,
            stop: &|| false,
            done: &|_| {},
        }
    }
}

impl fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Search {{ k: {}, threads: {}, .. }}", self.k, self.threads)
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The items of each query, best first.
    pub lists: Vec<Vec<Hit>>,
    /// How many items were proposed for each query, and then scored.
    pub proposed: Vec<u32>,
}

/// Items that can be searched: one copy of their vectors in `f32`, and one in bytes where the kernel reads those.
#[derive(Debug)]
pub struct ItemIndex {
    items: Items,
    proposer: Proposer,
}

impl ItemIndex {
    /// Makes an index of the row-major vectors [items, dim], in order of the items' ids.
    ///
    /// # Errors
    /// If the vectors do not fit the width, or hold NaN or infinities.
    pub fn new(proposer: Proposer, vectors: Vec<f32>, dim: usize, threads: usize) -> Result<Self, TopKError> {
        let proposer = if proposer.by_bytes() && dim > MOST_DIMENSIONS {
            Proposer::best(dim)
        } else {
            proposer
        };
        let items = Items::new(proposer.isa(), vectors, dim, proposer.by_bytes(), threads)?;
        Ok(ItemIndex { items, proposer })
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.count
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.items.count == 0
    }

    /// How it proposes.
    pub fn proposer(&self) -> Proposer {
        self.proposer
    }

    /// The best items of each of the row-major queries [queries, dim].
    ///
    /// # Errors
    /// If the queries do not fit the width or hold NaN or infinities, if a score is not a number, or if asked to stop.
    pub fn search<'a>(&self, queries: &'a [f32], search: &Search<'a>) -> Result<Found, TopKError> {
        let dim = self.items.dim;
        if !queries.len().is_multiple_of(dim) {
            let values = queries.len();
            return Err(TopKError::Shape { values, dim });
        }
        let count = queries.len() / dim;
        let mut found = Found {
            lists: vec![Vec::new(); count],
            proposed: vec![0; count],
        };
        // Enough groups for all threads, as far as that leaves each of them a few tiles.
        let even = count.div_ceil(search.threads.max(1) * 2 * LANES);
        let group = even.clamp(4, GROUP) * LANES;
        let failed: Mutex<Option<(usize, TopKError)>> = Mutex::new(None);
        let stopped = AtomicBool::new(false);
        let tasks = found.lists.chunks_mut(group).zip(found.proposed.chunks_mut(group));
        let tasks: Vec<_> = tasks.zip(queries.chunks(group * dim)).enumerate().collect();
        in_parallel(search.threads, tasks, |(number, ((lists, proposed), queries))| {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let done = self.group(number * group, queries, lists, proposed, search);
            match done {
                Ok(()) => (search.done)(lists.len() as u64),
                Err(error) => {
                    stopped.store(error == TopKError::Stopped, Ordering::Relaxed);
                    // The first of all errors is told, whatever thread is first.
                    let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if failed.as_ref().is_none_or(|(first, _)| number < *first) {
                        *failed = Some((number, error));
                    }
                }
            }
        });
        match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(found),
        }
    }

    /// The queries `first..` whose vectors are `queries`.
    fn group<'a>(
        &self,
        first: usize,
        queries: &'a [f32],
        lists: &mut [Vec<Hit>],
        proposed: &mut [u32],
        search: &Search<'a>,
    ) -> Result<(), TopKError> {
        let (isa, items, kernel) = (self.proposer.isa(), &self.items, self.proposer.kernel());
        let k = search.k.min(items.count);
        let tiles = queries.chunks(LANES * items.dim).enumerate();
        let tiles = tiles.map(|(tile, rows)| Tile::new(items, rows, first + tile * LANES, k, search.exclude));
        let mut tiles = tiles.collect::<Result<Vec<_>, _>>()?;
        if k > 0 {
            for tile in &mut tiles {
                self.first_floors(&kernel, tile, k);
            }
            let mut found = Proposed::new();
            for block in 0..items.blocks.len() {
                if (search.stop)() {
                    return Err(TopKError::Stopped);
                }
                for tile in tiles.iter_mut().filter(|tile| !tile.finished) {
                    tile.finished = !tile.lanes.within_reach(&items.blocks[block]);
                    if !tile.finished {
                        kernel.propose(isa, items, block, tile, &mut found);
                        tile.score(isa, items, block, &found);
                    }
                }
            }
            for tile in &mut tiles {
                tile.score_all(isa, items)?;
            }
        }
        let found = tiles.into_iter().flat_map(Tile::finish);
        for ((list, count), (hits, proposals)) in lists.iter_mut().zip(proposed).zip(found) {
            (*list, *count) = (hits, proposals);
        }
        Ok(())
    }

    fn first_floors(&self, kernel: &Kernel, tile: &mut Tile<'_>, k: usize) {
        let (per_item, least) = if self.proposer.by_bytes() {
            FIRST_BYTES
        } else {
            FIRST_FLOATS
        };
        let items = (k * per_item).max(least).min(self.items.count / FIRST_SHARE);
        let blocks = items / BLOCK;
        if blocks > 0 {
            let maxima = kernel.maxima(&self.items, blocks, tile);
            tile.raise_floors(&self.items.blocks, &maxima, k);
        }
    }
}
