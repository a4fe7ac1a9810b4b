//! Scores of items: score descending, then row ascending. Rows of items are in the order of their original ids, so that
//! ties go to the smaller id.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

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

/// The dot product of a layer, in a fixed order of additions: the same bits wherever it is computed.
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

/// The `k` best of the items that `eligible` lets through.
pub(crate) fn best(scores: &[f32], k: usize, eligible: impl Fn(u32) -> bool) -> Vec<Scored> {
    let mut heap: BinaryHeap<Scored> = BinaryHeap::with_capacity(k.min(scores.len()) + 1);
    let mut floor = f32::NEG_INFINITY;
    for (row, score) in scores.iter().enumerate() {
        // Adding zero turns -0 into 0, so that the two tie. Rows come in ascending order: a later one must be strictly
        // better to displace an earlier one.
        let score = score + 0.0;
        if (heap.len() < k || score > floor) && eligible(row as u32) {
            heap.push(Scored { row: row as u32, score });
            if heap.len() > k {
                heap.pop();
            }
            floor = heap.peek().map_or(f32::NEG_INFINITY, |worst| worst.score);
        }
    }
    heap.into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Scores are few whole numbers, so that ties are frequent.
        #[test]
        fn the_best_are_the_head_of_a_full_sort(scores in proptest::collection::vec(-3_i8..4, 0..60), k in 0_usize..20, odd in any::<bool>()) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let eligible = |row: u32| odd || row.is_multiple_of(2);
            let mut all: Vec<Scored> = (0_u32..).zip(&scores).map(|(row, score)| Scored { row, score: score + 0.0 }).collect();
            all.retain(|scored| eligible(scored.row));
            all.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap().then(a.row.cmp(&b.row)));
            all.truncate(k);
            prop_assert_eq!(best(&scores, k, eligible), all);
        }
    }
}
