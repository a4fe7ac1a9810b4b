//! Items in order of their lengths, as the kernels read them.

use super::bound::{BlockFacts, length};
use super::{BLOCK, TopKError};
use crate::isa::by_isa;
use crate::{Isa, in_parallel};

/// What a byte stands above the whole number that it means.
pub(crate) const OFFSET: i32 = 128;
/// Bytes that a kernel may read beyond the last row: what it multiplies them by is zero.
const BEYOND: usize = 64;

/// The items, longest first.
#[derive(Debug)]
pub(crate) struct Items {
    pub(crate) dim: usize,
    pub(crate) count: usize,
    /// Row-major [count, dim].
    pub(crate) vectors: Vec<f32>,
    /// The place of each item in the order in which they were given.
    pub(crate) order: Vec<u32>,
    pub(crate) blocks: Vec<BlockFacts>,
    /// Rounded to bytes with an offset, row-major [count, `byte_stride`]; empty where no kernel reads them.
    pub(crate) bytes: Vec<u8>,
    pub(crate) byte_stride: usize,
}

impl Items {
    /// Sorts the vectors where they are.
    pub(crate) fn new(
        isa: Isa,
        mut vectors: Vec<f32>,
        dim: usize,
        bytes: bool,
        threads: usize,
    ) -> Result<Self, TopKError> {
        let count = vectors.len().checked_div(dim).unwrap_or(0);
        if dim == 0 || count * dim != vectors.len() || u32::try_from(count).is_err() {
            let values = vectors.len();
            return Err(TopKError::Shape { values, dim });
        }
        let mut lengths = vec![0.0; count];
        let rows: Vec<_> = vectors.chunks(dim * BLOCK).zip(lengths.chunks_mut(BLOCK)).collect();
        in_parallel(threads, rows, |(rows, lengths)| lengths_of(isa, rows, dim, lengths));
        if let Some(row) = lengths.iter().position(|length| !length.is_finite()) {
            return Err(TopKError::Item(row));
        }
        let mut order: Vec<u32> = (0..count as u32).collect();
        order.sort_unstable_by(|&a, &b| lengths[b as usize].total_cmp(&lengths[a as usize]).then(a.cmp(&b)));
        let longest = order.iter().step_by(BLOCK).map(|&row| lengths[row as usize]);
        let mut blocks: Vec<BlockFacts> = longest
            .map(|length| BlockFacts {
                length,
                ..BlockFacts::default()
            })
            .collect();
        drop(lengths);
        permute(&mut vectors, dim, &order);
        let byte_stride = if bytes { dim.next_multiple_of(4) } else { 0 };
        let mut rounded = vec![OFFSET as u8; count * byte_stride + if bytes { BEYOND } else { 0 }];
        if bytes {
            let rows = vectors.chunks(dim * BLOCK).zip(rounded.chunks_mut(byte_stride * BLOCK));
            let tasks: Vec<_> = rows.zip(&mut blocks).collect();
            in_parallel(threads, tasks, |((rows, bytes), facts)| {
                round(isa, rows, dim, bytes, byte_stride, facts);
            });
        }
        Ok(Items {
            dim,
            count,
            vectors,
            order,
            blocks,
            bytes: rounded,
            byte_stride,
        })
    }
}

/// Brings rows into this order with the space of one row beside them: each circle of the permutation is followed once.
fn permute(vectors: &mut [f32], dim: usize, order: &[u32]) {
    let mut done = vec![false; order.len()];
    let mut held = vec![0.0; dim];
    for start in 0..order.len() {
        if done[start] {
            continue;
        }
        held.copy_from_slice(&vectors[start * dim..][..dim]);
        let mut place = start;
        loop {
            done[place] = true;
            let from = order[place] as usize;
            if from == start {
                vectors[place * dim..][..dim].copy_from_slice(&held);
                break;
            }
            vectors.copy_within(from * dim..(from + 1) * dim, place * dim);
            place = from;
        }
    }
}

by_isa! {
    fn lengths_of(rows: &[f32], dim: usize, lengths: &mut [f64]) = lengths_body;
}

#[inline(always)]
fn lengths_body(rows: &[f32], dim: usize, lengths: &mut [f64]) {
    for (row, target) in rows.chunks_exact(dim).zip(lengths) {
        *target = length_body(row);
    }
}

/// [`length`] with eight sums side by side.
#[inline(always)]
fn length_body(row: &[f32]) -> f64 {
    let (chunks, rest) = row.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for chunk in chunks {
        for lane in 0..8 {
            sums[lane] += f64::from(chunk[lane]) * f64::from(chunk[lane]);
        }
    }
    let rest = length(rest);
    (sums.iter().sum::<f64>() + rest * rest).sqrt() * super::bound::UP
}

by_isa! {
    fn round(
        rows: &[f32],
        dim: usize,
        bytes: &mut [u8],
        stride: usize,
        facts: &mut BlockFacts,
    ) = round_body;
}

/// Rounds the items of a block.
#[inline(always)]
fn round_body(rows: &[f32], dim: usize, bytes: &mut [u8], stride: usize, facts: &mut BlockFacts) {
    let scale = scale_for(rows);
    let mut greatest = 0.0_f64;
    for (row, bytes) in rows.chunks_exact(dim).zip(bytes.chunks_exact_mut(stride)) {
        let mut sums = [0.0_f64; 8];
        for (values, bytes) in row.chunks(8).zip(bytes.chunks_mut(8)) {
            for (lane, (&x, byte)) in values.iter().zip(bytes).enumerate() {
                let (whole, error) = rounded(x, scale);
                *byte = (whole as i32 + OFFSET) as u8;
                sums[lane] += error * error;
            }
        }
        greatest = greatest.max(sums.iter().sum::<f64>());
    }
    facts.scale = scale;
    facts.rounded = greatest.sqrt() * super::bound::UP;
}

/// The scale that brings the values into -127..=127: 24 bits, so that its product with a whole number is exact.
#[inline(always)]
pub(crate) fn scale_for(values: &[f32]) -> f64 {
    /// The bits beyond 24.
    const CUT: u64 = (1 << 29) - 1;
    let greatest = values.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    if greatest == 0.0 {
        return 1.0;
    }
    let scale = (f64::from(greatest) / 127.0).to_bits();
    f64::from_bits((scale | CUT) + 1)
}

/// The nearest whole number of scales, and what is left.
#[inline(always)]
pub(crate) fn rounded(x: f32, scale: f64) -> (f64, f64) {
    /// Adding and taking away this number rounds to a whole one, to the even one of two that are as near.
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    let x = f64::from(x);
    let whole = (x / scale + WHOLE) - WHOLE;
    (whole, x - whole * scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_come_longest_first_and_each_once(lengths in proptest::collection::vec(0_u8..9, 0..700)) {
            let vectors: Vec<f32> = lengths.iter().enumerate().flat_map(|(row, &x)| [f32::from(x), row as f32 / 1e6, 0.5]).collect();
            let items = Items::new(Isa::best(), vectors.clone(), 3, true, 2).unwrap();
            let mut seen = vec![false; lengths.len()];
            for (place, &row) in items.order.iter().enumerate() {
                prop_assert_eq!(&items.vectors[place * 3..][..3], &vectors[row as usize * 3..][..3]);
                prop_assert!(!std::mem::replace(&mut seen[row as usize], true));
                prop_assert!(length(&items.vectors[place * 3..][..3]) <= items.blocks[place / BLOCK].length * UP_TWICE);
            }
        }

        #[test]
        fn values_are_near_their_bytes(values in proptest::collection::vec(-1e30_f32..1e30, 1..70), small in any::<bool>()) {
            let values: Vec<f32> = values.iter().map(|x| if small { x * 1e-38 * 1e-36 } else { *x }).collect();
            let items = Items::new(Isa::best(), values.clone(), values.len(), true, 1).unwrap();
            let facts = items.blocks[0];
            let error = values.iter().zip(&items.bytes).map(|(&x, &byte)| {
                let away = f64::from(x) - f64::from(i32::from(byte) - OFFSET) * facts.scale;
                assert!(away.abs() <= facts.scale * 0.500_001, "{away} {}", facts.scale);
                away * away
            }).sum::<f64>().sqrt();
            prop_assert!(error <= facts.rounded);
        }
    }

    const UP_TWICE: f64 = super::super::bound::UP * super::super::bound::UP;
}
