//! Attention pooling of embeddings: the rows of a list become their mean, weighted by the softmax of their products with a
//! query that is learnt. With rows e_i and the query a,
//!
//! ```text
//! w = softmax(e_1 a, ..., e_n a),   pooled = sum w_i e_i
//! ```
//!
//! and for a gradient g by the pooled row, with d_i = w_i (g e_i - g pooled): by e_i it is w_i g + d_i a, by the query
//! sum d_i e_i. A list of one row is that row, and without rows zero.

use crate::Isa;
use crate::isa::by_isa;
use crate::nn::bag::Bag;
use crate::nn::embedding_table::{Table, Touched};
use crate::nn::pooling::add_weighted;

impl Table {
    /// Writes the pooled rows `range` of `bag` to `out`, as [`Table::pool`] does; `query` is as wide as a row.
    ///
    /// # Panics
    /// If an id is outside of the table or `out` too short.
    pub fn attend(
        &self,
        isa: Isa,
        bag: &Bag,
        query: &[f32],
        range: std::ops::Range<usize>,
        (out, stride, offset): (&mut [f32], usize, usize),
        add: bool,
    ) {
        attend(isa, self, bag, query, range, out, stride, offset, add);
    }

    /// Adds to the gradients of the rows that `bag` names, and to that of the query, what `gradient` says of the pooled
    /// rows. Rows of `gradient` are `stride` apart and begin at `offset`.
    ///
    /// # Panics
    /// If the bag was not among those that were touched last.
    pub fn attend_backward(
        &self,
        isa: Isa,
        bag: &Bag,
        query: &[f32],
        (gradient, stride, offset): (&[f32], usize, usize),
        touched: &mut Touched,
        by_query: &mut [f32],
    ) {
        attend_backward(isa, self, bag, query, gradient, stride, offset, touched, by_query);
    }
}

/// Leaves the weights of the rows of `ids`: positive, in all 1.
#[inline(always)]
fn weigh(table: &Table, ids: &[u32], query: &[f32], weights: &mut Vec<f32>) {
    weights.clear();
    weights.extend(ids.iter().map(|id| product(table.weights(*id as usize), query)));
    let highest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for weight in weights.iter_mut() {
        *weight = (*weight - highest).exp();
        sum += *weight;
    }
    for weight in weights {
        *weight /= sum;
    }
}

/// In eight sums, which the compiler keeps in one register.
#[inline(always)]
fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

by_isa! {
    fn attend(
        table: &Table,
        bag: &Bag,
        query: &[f32],
        range: std::ops::Range<usize>,
        out: &mut [f32],
        stride: usize,
        offset: usize,
        add: bool,
    ) = attend_rows;
}

#[inline(always)]
fn attend_rows(
    table: &Table,
    bag: &Bag,
    query: &[f32],
    range: std::ops::Range<usize>,
    out: &mut [f32],
    stride: usize,
    offset: usize,
    add: bool,
) {
    let mut weights = Vec::new();
    for (row, out) in range.zip(out.chunks_mut(stride)) {
        let out = &mut out[offset..][..table.width()];
        if !add {
            out.fill(0.0);
        }
        let ids = &bag.ids[bag.row(row)];
        weigh(table, ids, query, &mut weights);
        for (id, weight) in ids.iter().zip(&weights) {
            add_weighted(out, table.weights(*id as usize), *weight);
        }
    }
}

by_isa! {
    fn attend_backward(
        table: &Table,
        bag: &Bag,
        query: &[f32],
        gradient: &[f32],
        stride: usize,
        offset: usize,
        touched: &mut Touched,
        by_query: &mut [f32],
    ) = attend_backward_rows;
}

#[inline(always)]
fn attend_backward_rows(
    table: &Table,
    bag: &Bag,
    query: &[f32],
    gradient: &[f32],
    stride: usize,
    offset: usize,
    touched: &mut Touched,
    by_query: &mut [f32],
) {
    let mut weights = Vec::new();
    for (row, gradient) in gradient.chunks(stride).take(bag.len()).enumerate() {
        let gradient = &gradient[offset..][..table.width()];
        let ids = &bag.ids[bag.row(row)];
        weigh(table, ids, query, &mut weights);
        let along = |id: &u32| product(table.weights(*id as usize), gradient);
        let mean: f32 = ids.iter().zip(&weights).map(|(id, weight)| along(id) * weight).sum();
        for (id, weight) in ids.iter().zip(&weights) {
            let by_score = weight * (along(id) - mean);
            add_weighted(by_query, table.weights(*id as usize), by_score);
            let target = table.gradient_of(touched, *id);
            for ((target, gradient), a) in target.iter_mut().zip(gradient).zip(query) {
                *target += weight * gradient + by_score * a;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::optimizer::{Decay, Rule, Schedule, Step};

    const WIDTH: usize = 3;

    fn pooled(isa: Isa, weights: &[f32], bag: &Bag, query: &[f32]) -> Vec<f32> {
        let table = Table::new(weights, WIDTH, 1);
        let mut out = vec![0.0; bag.len() * WIDTH];
        table.attend(isa, bag, query, 0..bag.len(), (&mut out, WIDTH, 0), false);
        out
    }

    #[test]
    fn what_fits_the_query_counts_more_and_padding_for_nothing() {
        let weights = [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 5.0, 0.0, -1.0];
        for isa in Isa::available() {
            let bag = Bag::of(&[&[1, 0, 2], &[0], &[2, 0]]);
            // Without a direction it is the mean.
            let even = pooled(isa, &weights, &bag, &[0.0; WIDTH]);
            assert_eq!(even, [3.0, 1.0, 1.0, 0.0, 0.0, 0.0, 5.0, 0.0, -1.0]);
            // Scores of 2 and 0.
            let (w, other) = (0.880_797, 0.119_203);
            let found = pooled(isa, &weights, &bag, &[0.0, 1.0, 0.0]);
            let expected = [w + 5.0 * other, 2.0 * w, 3.0 * w - other];
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
            assert_eq!(found[3..], [0.0, 0.0, 0.0, 5.0, 0.0, -1.0]);
        }
    }

    #[test]
    fn its_gradient_is_that_of_differences() {
        let weights: Vec<f32> = (0..5 * WIDTH).map(|x| ((x * x % 7) as f32 - 3.0) / 4.0).collect();
        let (query, bag) = ([0.6, -0.4, 0.9], Bag::of(&[&[1, 2, 4], &[3], &[], &[2, 2, 3]]));
        let upstream: Vec<f32> = (0..4 * WIDTH).map(|x| ((x % 5) as f32 - 1.5) / 2.0).collect();
        let value = |weights: &[f32], query: &[f32]| -> f64 {
            let out = pooled(Isa::PORTABLE, weights, &bag, query);
            out.iter()
                .zip(&upstream)
                .map(|(x, g)| f64::from(*x) * f64::from(*g))
                .sum()
        };
        let slope = |up: f64, down: f64| (up - down) / 2e-2;
        for isa in Isa::available() {
            let (mut table, mut touched) = (Table::new(&weights, WIDTH, 1), Touched::default());
            let schedule = Schedule {
                peak: 1.0,
                warm_up: 0,
                cosine: None,
            };
            let step = Step {
                rule: Rule::Sgd,
                decay: Decay::None,
                schedule,
            };
            table.touch(isa, &[&bag], &mut touched, &step, &[]);
            let mut by_query = [0.0; WIDTH];
            table.attend_backward(isa, &bag, &query, (&upstream, WIDTH, 0), &mut touched, &mut by_query);
            for place in 0..WIDTH {
                let (mut up, mut down) = (query, query);
                up[place] += 1e-2;
                down[place] -= 1e-2;
                let expected = slope(value(&weights, &up), value(&weights, &down));
                assert!(
                    (expected - f64::from(by_query[place])).abs() < 1e-3,
                    "{expected} {by_query:?}"
                );
            }
            for place in WIDTH..weights.len() {
                let (mut up, mut down) = (weights.clone(), weights.clone());
                up[place] += 1e-2;
                down[place] -= 1e-2;
                let expected = slope(value(&up, &query), value(&down, &query));
                let found = table.gradient_of(&mut touched, (place / WIDTH) as u32)[place % WIDTH];
                assert!(
                    (expected - f64::from(found)).abs() < 1e-3,
                    "{place}: {expected} {found}"
                );
            }
        }
    }
}
