//! Bayesian personalized ranking with its gradient (Rendle et al. 2009): a row should score its own item above one that
//! its user does not know. The loss of a row is -ln sigmoid((q v_own - q v_other) / T).

use crate::towers::scoring::dot;
use crate::train::train_backend::Pairs;

/// The weighted sum of the losses of the rows; leaves the gradients by the query embeddings, [batch, dim], and by the
/// embeddings of the candidates, [candidates, dim], both of which are row-major.
pub(crate) fn learn(
    (queries, embeddings): (&[f32], &[f32]),
    dim: usize,
    temperature: f64,
    pairs: &Pairs<'_>,
    (by_query, by_item): (&mut Vec<f32>, &mut Vec<f32>),
) -> f64 {
    for (gradient, length) in [(&mut *by_query, queries.len()), (&mut *by_item, embeddings.len())] {
        gradient.clear();
        gradient.resize(length, 0.0);
    }
    let scale = (1.0 / temperature) as f32;
    let item = |place: u32| &embeddings[place as usize * dim..][..dim];
    let rows = queries.chunks_exact(dim).zip(by_query.chunks_exact_mut(dim));
    let mut loss = 0.0;
    for ((query, by_query), (&(own, other), &weight)) in rows.zip(pairs.places.iter().zip(pairs.weights)) {
        let Some(other) = other else { continue };
        let ahead = f64::from((dot(query, item(own)) - dot(query, item(other))) * scale);
        // ln(1 + e^-x) without overflow on either side.
        loss += f64::from(weight) * ((-ahead.abs()).exp().ln_1p() + (-ahead).max(0.0));
        let slope = -weight * scale * (1.0 / (1.0 + ahead.exp())) as f32;
        for (d, gradient) in by_query.iter_mut().enumerate() {
            *gradient = slope * (item(own)[d] - item(other)[d]);
            by_item[own as usize * dim + d] += slope * query[d];
            by_item[other as usize * dim + d] -= slope * query[d];
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loss alone, in f64.
    fn loss(queries: &[f64], items: &[f64], places: &[(u32, Option<u32>)], weights: &[f32]) -> f64 {
        let dot = |row: usize, place: u32| -> f64 {
            (0..3)
                .map(|d| queries[row * 3 + d] * items[place as usize * 3 + d])
                .sum()
        };
        let of_row = |(row, (own, other)): (usize, &(u32, Option<u32>))| {
            let ahead = other.map(|other| (dot(row, *own) - dot(row, other)) / 0.5);
            ahead.map_or(0.0, |ahead| f64::from(weights[row]) * (1.0 + (-ahead).exp()).ln())
        };
        places.iter().enumerate().map(of_row).sum()
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let values = |count: usize, seed: usize| -> Vec<f64> {
            (0..count)
                .map(|i| ((i * 37 + seed * 11) % 19) as f64 / 10.0 - 0.9)
                .collect()
        };
        let (queries, items) = (values(9, 1), values(12, 2));
        let places = [(0, Some(2)), (3, Some(0)), (1, None)];
        let weights = [0.5, 0.25, 0.25];
        let narrow = |values: &[f64]| -> Vec<f32> { values.iter().map(|&x| x as f32).collect() };
        let (mut by_query, mut by_item) = (Vec::new(), vec![7.0; 3]);
        let embeddings = narrow(&items);
        let pairs = Pairs {
            places: &places,
            weights: &weights,
        };
        let value = learn(
            (&narrow(&queries), &embeddings),
            3,
            0.5,
            &pairs,
            (&mut by_query, &mut by_item),
        );
        assert!((value - loss(&queries, &items, &places, &weights)).abs() < 1e-6);
        let slope = |change: &dyn Fn(f64) -> f64| (change(1e-5) - change(-1e-5)) / 2e-5;
        for place in 0..9 {
            let changed = |by: f64| {
                let mut queries = queries.clone();
                queries[place] += by;
                loss(&queries, &items, &places, &weights)
            };
            assert!((slope(&changed) - f64::from(by_query[place])).abs() < 1e-5, "{place}");
        }
        for place in 0..12 {
            let changed = |by: f64| {
                let mut items = items.clone();
                items[place] += by;
                loss(&queries, &items, &places, &weights)
            };
            assert!((slope(&changed) - f64::from(by_item[place])).abs() < 1e-5, "{place}");
        }
    }

    #[test]
    fn scores_far_apart_stay_finite() {
        for (sign, expected) in [(1.0, 0.0), (-1.0, 400.0)] {
            let pairs = Pairs {
                places: &[(0, Some(1))],
                weights: &[1.0],
            };
            let (mut by_query, mut by_item) = (Vec::new(), Vec::new());
            let value = learn(
                (&[1.0], &[100.0 * sign, -100.0 * sign]),
                1,
                0.5,
                &pairs,
                (&mut by_query, &mut by_item),
            );
            assert!((value - expected).abs() < 1e-6 && by_query[0].is_finite());
        }
    }
}
