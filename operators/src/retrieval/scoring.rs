//! Exact top-k by dot product: score descending, then row ascending. Rows of items are in the order of their original
//! ids, so that ties go to the smaller id.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::contract::{Cancel, Result};

/// Queries that are scored together, so that a row of items is loaded once for all of them.
const BLOCK: usize = 32;
/// Independent sums of a dot product: what the compiler can keep in vector registers.
const LANES: usize = 8;

/// An item and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scored {
    /// Row of the item.
    pub(crate) row: u32,
    /// Its score.
    pub(crate) score: f32,
}

impl Eq for Scored {}

impl Ord for Scored {
    /// The better one is smaller, so that the worst is on top of a heap.
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The dot product in a fixed order of additions: the same bits wherever it is computed.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + rest
}

/// `0..count` in at most `parts` ranges of nearly the same length.
pub(crate) fn shards(count: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let length = count.div_ceil(parts.max(1)).max(1);
    (0..count)
        .step_by(length)
        .map(move |start| start..(start + length).min(count))
}

/// The `k` best of all items by their scores but those in `exclude`, which is ascending.
pub(crate) fn best(scores: &[f32], k: usize, exclude: &[u32]) -> Vec<Scored> {
    let mut heap: BinaryHeap<Scored> = BinaryHeap::with_capacity(k.min(scores.len()) + 1);
    let mut floor = f32::NEG_INFINITY;
    for (row, score) in scores.iter().enumerate() {
        // As in `Candidates::block`: -0 ties with 0, and a later row must be strictly better.
        let score = score + 0.0;
        if (heap.len() < k || score > floor) && exclude.binary_search(&(row as u32)).is_err() {
            heap.push(Scored { row: row as u32, score });
            if heap.len() > k {
                heap.pop();
            }
            floor = heap.peek().map_or(f32::NEG_INFINITY, |worst| worst.score);
        }
    }
    heap.into_sorted_vec()
}

/// Items to score against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates<'a> {
    /// Row-major [items, dim].
    pub(crate) embeddings: &'a [f32],
    /// Width of an embedding.
    pub(crate) dim: usize,
}

impl Candidates<'_> {
    /// The `k` best items of each query (row-major [queries, dim]) but those in `exclude(query)`, which is ascending.
    /// Lists are shorter where fewer items are left. `done` hears of finished queries.
    pub(crate) fn top_k<'e>(
        &self,
        queries: &[f32],
        k: usize,
        exclude: &(dyn Fn(usize) -> &'e [u32] + Sync),
        threads: usize,
        cancel: &Cancel,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Vec<Scored>>> {
        let count = queries.len() / self.dim;
        let k = k.min(self.embeddings.len() / self.dim);
        let mut out: Vec<Vec<Scored>> = vec![Vec::new(); count];
        std::thread::scope(|scope| {
            let mut rest = out.as_mut_slice();
            for range in shards(count, threads) {
                let (part, after) = rest.split_at_mut(range.len());
                rest = after;
                scope.spawn(move || {
                    for (block, targets) in part.chunks_mut(BLOCK).enumerate() {
                        if cancel.is_cancelled() {
                            return;
                        }
                        self.block(queries, range.start + block * BLOCK, targets, k, exclude);
                        done(targets.len() as u64);
                    }
                });
            }
        });
        cancel.check()?;
        Ok(out)
    }

    fn block<'e>(
        &self,
        queries: &[f32],
        first: usize,
        targets: &mut [Vec<Scored>],
        k: usize,
        exclude: &(dyn Fn(usize) -> &'e [u32] + Sync),
    ) {
        let dim = self.dim;
        let queries = &queries[first * dim..(first + targets.len()) * dim];
        let mut heaps: Vec<BinaryHeap<Scored>> = targets.iter().map(|_| BinaryHeap::with_capacity(k + 1)).collect();
        let mut floors = vec![f32::NEG_INFINITY; targets.len()];
        for (row, item) in self.embeddings.chunks_exact(dim).enumerate() {
            for (place, query) in queries.chunks_exact(dim).enumerate() {
                // Adding zero turns -0 into 0, so that the two tie.
                let score = dot(query, item) + 0.0;
                let heap = &mut heaps[place];
                // Rows come in ascending order: a later one must be strictly better to displace an earlier one.
                if (heap.len() < k || score > floors[place])
                    && exclude(first + place).binary_search(&(row as u32)).is_err()
                {
                    heap.push(Scored { row: row as u32, score });
                    if heap.len() > k {
                        heap.pop();
                    }
                    floors[place] = heap.peek().map_or(f32::NEG_INFINITY, |worst| worst.score);
                }
            }
        }
        for (target, heap) in targets.iter_mut().zip(heaps) {
            *target = heap.into_sorted_vec();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brute_force(query: &[f32], items: &[f32], dim: usize, k: usize, exclude: &[u32]) -> Vec<Scored> {
        let mut all: Vec<Scored> = items
            .chunks_exact(dim)
            .enumerate()
            .map(|(row, item)| Scored {
                row: row as u32,
                score: dot(query, item) + 0.0,
            })
            .filter(|scored| !exclude.contains(&scored.row))
            .collect();
        all.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap().then(a.row.cmp(&b.row)));
        all.truncate(k);
        all
    }

    proptest! {
        // Components are few small whole numbers, so that ties are frequent.
        #[test]
        fn top_k_is_the_head_of_a_full_sort(
            dim in 1_usize..12,
            users in 0_usize..70,
            items in 0_usize..60,
            k in 1_usize..20,
            threads in 1_usize..4,
            values in proptest::collection::vec(-2_i8..3, 12 * 130),
            excluded in proptest::collection::btree_set(0_u32..60, 0..20),
        ) {
            let values: Vec<f32> = values.into_iter().map(f32::from).collect();
            let (queries, rest) = values.split_at(users * dim);
            let embeddings = &rest[..items * dim];
            let excluded: Vec<u32> = excluded.into_iter().collect();
            let exclude = |query: usize| -> &[u32] { if query.is_multiple_of(2) { &excluded } else { &[] } };
            let candidates = Candidates { embeddings, dim };
            let found = candidates.top_k(queries, k, &exclude, threads, &Cancel::default(), &|_| {}).unwrap();
            prop_assert_eq!(found.len(), users);
            for (user, found) in found.iter().enumerate() {
                let query = &queries[user * dim..(user + 1) * dim];
                prop_assert_eq!(found, &brute_force(query, embeddings, dim, k, exclude(user)));
            }
        }
    }
}
