//! Pooling of embeddings: the rows of a list become one, and its gradient goes back to them.

use crate::Isa;
use crate::isa::by_isa;
use crate::nn::bag::Bag;
use crate::nn::embedding_table::{Table, Touched};

/// How the rows of a list become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean; zero without any.
    Mean,
    /// Their sum.
    Sum,
    /// The highest of each component; zero without any.
    Max,
}

impl Table {
    /// Adds to the gradients of the rows that `bag` names what `gradient` says of its pooled rows. Rows of `gradient`
    /// are `stride` apart and begin at `offset`.
    ///
    /// # Panics
    /// If the bag was not among those that were touched last.
    pub fn accumulate(
        &self,
        isa: Isa,
        bag: &Bag,
        pooling: Pooling,
        (gradient, stride, offset): (&[f32], usize, usize),
        touched: &mut Touched,
    ) {
        accumulate(isa, self, bag, pooling, gradient, stride, offset, touched);
    }

    /// Writes the pooled rows `range` of `bag` to `out`, whose rows are `stride` apart and begin at `offset`; with
    /// `add`, adds them.
    ///
    /// # Panics
    /// If an id is outside of the table or `out` too short.
    pub fn pool(
        &self,
        isa: Isa,
        bag: &Bag,
        pooling: Pooling,
        range: std::ops::Range<usize>,
        (out, stride, offset): (&mut [f32], usize, usize),
        add: bool,
    ) {
        pool(isa, self, bag, pooling, range, out, stride, offset, add);
    }
}

by_isa! {
    fn pool(
        table: &Table,
        bag: &Bag,
        pooling: Pooling,
        range: std::ops::Range<usize>,
        out: &mut [f32],
        stride: usize,
        offset: usize,
        add: bool,
    ) = pool_rows;
}

#[inline(always)]
fn pool_rows(
    table: &Table,
    bag: &Bag,
    pooling: Pooling,
    range: std::ops::Range<usize>,
    out: &mut [f32],
    stride: usize,
    offset: usize,
    add: bool,
) {
    let mut best = vec![0.0_f32; if pooling == Pooling::Max { table.width() } else { 0 }];
    for (row, out) in range.zip(out.chunks_mut(stride)) {
        let out = &mut out[offset..][..table.width()];
        if !add {
            out.fill(0.0);
        }
        let ids = &bag.ids[bag.row(row)];
        if pooling == Pooling::Max {
            if let [first, rest @ ..] = ids {
                best.copy_from_slice(table.weights(*first as usize));
                for id in rest {
                    for (best, x) in best.iter_mut().zip(table.weights(*id as usize)) {
                        *best = if *x > *best { *x } else { *best };
                    }
                }
                out.iter_mut().zip(&best).for_each(|(out, x)| *out += x);
            }
            continue;
        }
        let factor = factor(pooling, ids.len());
        for id in ids {
            add_weighted(out, table.weights(*id as usize), factor);
        }
    }
}

by_isa! {
    fn accumulate(
        table: &Table,
        bag: &Bag,
        pooling: Pooling,
        gradient: &[f32],
        stride: usize,
        offset: usize,
        touched: &mut Touched,
    ) = accumulate_rows;
}

#[inline(always)]
fn accumulate_rows(
    table: &Table,
    bag: &Bag,
    pooling: Pooling,
    gradient: &[f32],
    stride: usize,
    offset: usize,
    touched: &mut Touched,
) {
    let width = table.width();
    for (row, gradient) in gradient.chunks(stride).take(bag.offsets.len() - 1).enumerate() {
        let gradient = &gradient[offset..][..width];
        let ids = &bag.ids[bag.row(row)];
        if pooling == Pooling::Max {
            for (component, gradient) in gradient.iter().enumerate() {
                let weight = |id: &u32| table.weights(*id as usize)[component];
                let Some(first) = ids.first() else { break };
                // The first of several that are equally high, as in the forward pass.
                let winner = ids
                    .iter()
                    .fold(first, |best, id| if weight(id) > weight(best) { id } else { best });
                table.gradient_of(touched, *winner)[component] += gradient;
            }
            continue;
        }
        let factor = factor(pooling, ids.len());
        for id in ids {
            add_weighted(table.gradient_of(touched, *id), gradient, factor);
        }
    }
}

/// What each of `count` rows counts for.
#[inline(always)]
fn factor(pooling: Pooling, count: usize) -> f32 {
    if pooling == Pooling::Mean {
        1.0 / count.max(1) as f32
    } else {
        1.0
    }
}

/// Adds a row times its weight.
#[inline(always)]
pub(crate) fn add_weighted(target: &mut [f32], row: &[f32], weight: f32) {
    for (target, x) in target.iter_mut().zip(row) {
        *target += x * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::optimizer::{Decay, Rule, Schedule, Step};

    #[test]
    fn pooling_skips_padding_and_its_gradient_goes_where_it_came_from() {
        let weights = [0.0, 0.0, 1.0, 10.0, 3.0, 2.0, 5.0, 6.0];
        let bag = Bag::of(&[&[1, 0, 2], &[], &[3, 3]]);
        let expected = [
            (
                Pooling::Mean,
                [2.0, 6.0, 0.0, 0.0, 5.0, 6.0],
                [0.5, 0.5, 0.5, 0.5, 2.0, 2.0],
            ),
            (
                Pooling::Sum,
                [4.0, 12.0, 0.0, 0.0, 10.0, 12.0],
                [1.0, 1.0, 1.0, 1.0, 4.0, 4.0],
            ),
            (
                Pooling::Max,
                [3.0, 10.0, 0.0, 0.0, 5.0, 6.0],
                [0.0, 1.0, 1.0, 0.0, 2.0, 2.0],
            ),
        ];
        for isa in Isa::available() {
            for (pooling, pooled, gradients) in expected {
                let schedule = Schedule {
                    peak: 0.1,
                    warm_up: 0,
                    cosine: None,
                };
                let step = Step {
                    rule: Rule::Sgd,
                    decay: Decay::None,
                    schedule,
                };
                let mut table = Table::new(&weights, 2, 1);
                let mut touched = Touched::default();
                table.touch(isa, &[&bag], &mut touched, &step, &[]);
                let mut out = vec![7.0; 9];
                table.pool(isa, &bag, pooling, 0..3, (&mut out, 3, 1), false);
                let found: Vec<f32> = out.chunks(3).flat_map(|row| row[1..].to_vec()).collect();
                assert_eq!(found, pooled);
                assert_eq!(out[0], 7.0);
                let gradient = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 2.0, 2.0];
                table.accumulate(isa, &bag, pooling, (&gradient, 3, 1), &mut touched);
                assert_eq!(touched.ids, [1, 2, 3]);
                assert_eq!(touched.gradients, gradients, "{pooling:?}");
            }
        }
    }
}
