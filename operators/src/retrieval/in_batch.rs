//! In-batch sampled softmax with its gradient.
//!
//! Row i of the batch should score its own item above the other candidates: the loss is the cross-entropy of
//! softmax(q_i v_j / T - log p_j), where p_j is the probability that item j is drawn into a batch (Yi et al. 2019,
//! "Sampling-bias-corrected neural modeling for large corpus item recommendations"). The scores of a few rows at a time
//! are made, turned into their gradient and multiplied out again while they are in the second-level cache: no
//! [batch, candidates] matrix ever exists.

use towline_kernels::{Isa, Mask, Strided, add_scaled, gemm, in_parallel, softmax_gradient, transpose};

/// Rows of a shard: the unit of parallel work. Fixed, so that sums do not depend on the number of threads.
const SHARD: usize = 512;
/// Rows whose scores are in the cache together.
const BLOCK: usize = 64;
/// Keeps rows of scores from falling on the same cache sets, which a length that is a power of two would do.
const SLACK: usize = 16;

/// What the rows of a batch are scored against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates<'a> {
    /// Embeddings, row-major [candidates, dim].
    pub(crate) embeddings: &'a [f32],
    /// Log of the probability that a candidate is drawn, less the log of how often it was, [candidates]; zeros for no
    /// correction.
    pub(crate) log_q: &'a [f32],
    /// Which candidate each row of the batch is about, with the log of the probability that it is drawn for this row,
    /// [batch].
    pub(crate) targets: &'a [(u32, f32)],
    /// Which candidates are no negatives.
    pub(crate) mask: &'a Mask,
    /// What the loss of each row counts for, [batch]; their sum should be 1.
    pub(crate) weights: &'a [f32],
}

/// The loss, with the memory that it works in.
#[derive(Debug, Default)]
pub(crate) struct InBatch {
    shards: Vec<Shard>,
    transposed: Vec<f32>,
    /// By the query embeddings, row-major [batch, dim].
    pub(crate) by_query: Vec<f32>,
    /// By the embeddings of the candidates, row-major [candidates, dim].
    pub(crate) by_item: Vec<f32>,
}

#[derive(Debug, Default)]
struct Shard {
    scores: Vec<f32>,
    by_item: Vec<f32>,
    loss: f64,
}

impl InBatch {
    /// The weighted sum of the losses of the rows; leaves its gradients. `queries` is row-major [batch, dim].
    pub(crate) fn learn(
        &mut self,
        (isa, threads): (Isa, usize),
        queries: &[f32],
        dim: usize,
        temperature: f64,
        candidates: &Candidates<'_>,
    ) -> f64 {
        let (batch, count) = (queries.len() / dim, candidates.embeddings.len() / dim);
        let scale = (1.0 / temperature) as f32;
        self.transposed.resize(count * dim, 0.0);
        transpose(candidates.embeddings, count, dim, &mut self.transposed, count);
        self.by_query.resize(batch * dim, 0.0);
        self.shards.resize_with(batch.div_ceil(SHARD), Shard::default);
        let transposed = &self.transposed;
        let work = |(index, (shard, by_query)): (usize, (&mut Shard, &mut [f32]))| {
            let first = index * SHARD;
            shard.learn(isa, queries, (first, by_query), (dim, scale), transposed, candidates);
        };
        let parts = self
            .shards
            .iter_mut()
            .zip(self.by_query.chunks_mut(SHARD * dim))
            .enumerate();
        in_parallel(threads, parts.collect(), work);
        self.by_item.clear();
        self.by_item.resize(count * dim, 0.0);
        let shards = &self.shards;
        let sum = |(index, part): (usize, &mut [f32])| {
            for shard in shards {
                add_scaled(isa, part, &shard.by_item[index * SHARD * dim..][..part.len()], scale);
            }
        };
        in_parallel(threads, self.by_item.chunks_mut(SHARD * dim).enumerate().collect(), sum);
        self.shards.iter().map(|shard| shard.loss).sum()
    }
}

impl Shard {
    fn learn(
        &mut self,
        isa: Isa,
        queries: &[f32],
        (first, by_query): (usize, &mut [f32]),
        (dim, scale): (usize, f32),
        transposed: &[f32],
        candidates: &Candidates<'_>,
    ) {
        let count = candidates.log_q.len();
        let stride = count.next_multiple_of(SLACK) + SLACK;
        self.scores.resize(BLOCK * stride, 0.0);
        self.by_item.resize(count * dim, 0.0);
        self.loss = 0.0;
        for (block, by_query) in by_query.chunks_mut(BLOCK * dim).enumerate() {
            let (start, rows) = (first + block * BLOCK, by_query.len() / dim);
            let queries = &queries[start * dim..][..rows * dim];
            let q = Strided::rows(queries, dim);
            gemm(
                isa,
                (rows, dim, count),
                q,
                transposed,
                count,
                &mut self.scores,
                stride,
                false,
            );
            for (row, scores) in self.scores.chunks_mut(stride).take(rows).enumerate() {
                let row = start + row;
                let (mask, weight) = (candidates.mask.line(row), candidates.weights[row]);
                let (target, own) = candidates.targets[row];
                let loss = softmax_gradient(
                    isa,
                    &mut scores[..count],
                    scale,
                    candidates.log_q,
                    mask,
                    (target as usize, own),
                    weight,
                );
                self.loss += f64::from(loss) * f64::from(weight);
            }
            let p = Strided::rows(&self.scores, stride);
            gemm(
                isa,
                (rows, count, dim),
                p,
                candidates.embeddings,
                dim,
                by_query,
                dim,
                false,
            );
            towline_kernels::scale(isa, by_query, scale);
            let p = Strided::columns(&self.scores, stride);
            gemm(
                isa,
                (count, rows, dim),
                p,
                queries,
                dim,
                &mut self.by_item,
                dim,
                block > 0,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use towline_kernels::Positives;

    use super::*;

    #[test]
    fn blocked_and_on_any_number_of_threads_it_is_the_full_softmax() {
        let (batch, count, dim, temperature) = (700, 731, 9, 0.7);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut values = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let (queries, items, log_q) = (values(batch * dim), values(count * dim), values(count));
        let places: Vec<u32> = (0..batch as u32).collect();
        let targets: Vec<(u32, f32)> = places.iter().map(|&place| (place, log_q[place as usize])).collect();
        let weights: Vec<f32> = (0..batch).map(|row| (1 + row % 3) as f32 / 1400.0).collect();
        let held: Vec<u32> = (0..count as u32).map(|place| place % 300).collect();
        let users: Vec<Option<u32>> = (0..batch as u32).map(|row| (row % 5 > 0).then_some(row % 50)).collect();
        let pairs: Vec<(u32, u32)> = (0..batch).filter_map(|row| Some((users[row]?, held[row]))).collect();
        let positives = Positives::new(50, &pairs);
        let mut mask = Mask::default();
        mask.fill(&positives, &users, &places, &held, 300);

        let (mut loss, mut by_query, mut by_item) = (0.0, vec![0.0; batch * dim], vec![0.0; count * dim]);
        for row in 0..batch {
            let masked = |place: usize| {
                let other = |pair: &(u32, u32)| Some(pair.0) == users[row] && pair.1 == held[place];
                place != row && (held[place] == held[row] || pairs.iter().any(other))
            };
            let logits: Vec<f64> = (0..count)
                .map(|place| {
                    let dot: f64 = (0..dim)
                        .map(|d| f64::from(queries[row * dim + d]) * f64::from(items[place * dim + d]))
                        .sum();
                    if masked(place) {
                        f64::NEG_INFINITY
                    } else {
                        dot / temperature - f64::from(log_q[place])
                    }
                })
                .collect();
            let sum: f64 = logits.iter().map(|x| x.exp()).sum();
            let weight = f64::from(weights[row]);
            loss += weight * (sum.ln() - logits[row]);
            for place in 0..count {
                let p = weight * (logits[place].exp() / sum - f64::from(u8::from(place == row))) / temperature;
                for d in 0..dim {
                    by_query[row * dim + d] += p * f64::from(items[place * dim + d]);
                    by_item[place * dim + d] += p * f64::from(queries[row * dim + d]);
                }
            }
        }
        let candidates = Candidates {
            embeddings: &items,
            log_q: &log_q,
            targets: &targets,
            mask: &mask,
            weights: &weights,
        };
        for isa in Isa::available() {
            let mut found = InBatch::default();
            let mut one = InBatch::default();
            let value = found.learn((isa, 3), &queries, dim, temperature, &candidates);
            assert_eq!(value, one.learn((isa, 1), &queries, dim, temperature, &candidates));
            assert_eq!((&found.by_query, &found.by_item), (&one.by_query, &one.by_item));
            assert!((value - loss).abs() < 1e-5, "{isa:?}: {value} {loss}");
            for (found, exact) in [(&found.by_query, &by_query), (&found.by_item, &by_item)] {
                for (a, b) in found.iter().zip(exact) {
                    assert!((f64::from(*a) - b).abs() < 1e-6, "{isa:?}: {a} {b}");
                }
            }
        }
    }
}
