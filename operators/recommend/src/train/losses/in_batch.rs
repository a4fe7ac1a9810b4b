//! In-batch sampled softmax with its gradient.
//!
//! Row i of the batch should score its own item above the other candidates: the loss is the cross-entropy of
//! softmax(q_i v_j / T - log p_j), where p_j is the probability that item j is drawn into a batch (Yi et al. 2019,
//! "Sampling-bias-corrected neural modeling for large corpus item recommendations"). The scores of a few rows at a time
//! are made, turned into their gradient and multiplied out again while they are in the second-level cache: no
//! [batch, candidates] matrix ever exists.

use towline_kernels::{Bf16, Isa, Strided, add_scaled, gemm, in_parallel, softmax_gradient, transpose};

use crate::train::losses::in_batch_bf16::{Factors, PairsOfBlock};
use crate::train::network::compute_backend::ComputeBackend;
use crate::train::train_backend::Candidates;

/// Rows of a shard: the unit of parallel work. Fixed, so that sums do not depend on the number of threads.
const SHARD: usize = 512;
/// Rows whose scores are in the cache together.
const BLOCK: usize = 64;
/// Keeps rows of scores from falling on the same cache sets, which a length that is a power of two would do.
const SLACK: usize = 16;

/// The loss, with the memory that it works in.
#[derive(Debug, Default)]
pub(crate) struct InBatch {
    shards: Vec<Shard>,
    transposed: Vec<f32>,
    factors: Factors,
    /// By the query embeddings, row-major [batch, dim].
    pub(crate) by_query: Vec<f32>,
    /// By the embeddings of the candidates, row-major [candidates, dim].
    pub(crate) by_item: Vec<f32>,
}

#[derive(Debug, Default)]
struct Shard {
    scores: Vec<f32>,
    pairs: PairsOfBlock,
    /// Row-major [candidates, dim], with products in bf16 [dim, candidates].
    by_item: Vec<f32>,
    loss: f64,
}

/// The candidates' embeddings as a product asks for them.
#[derive(Clone, Copy)]
enum Prepared<'a> {
    /// Row-major [dim, candidates] and [candidates, dim].
    Single(&'a [f32], &'a [f32]),
    Bf16(Bf16, &'a Factors),
}

/// Some rows of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    /// How many there are.
    pub(crate) rows: usize,
    /// Number of candidates.
    pub(crate) count: usize,
    /// Width of the embeddings.
    pub(crate) dim: usize,
    /// From a row of scores to the next.
    pub(crate) stride: usize,
    /// Their embeddings, row-major [rows, dim].
    pub(crate) queries: &'a [f32],
}

impl InBatch {
    /// The weighted sum of the losses of the rows; leaves its gradients. The embeddings are row-major, of the queries
    /// [batch, dim] and of the candidates [candidates, dim].
    pub(crate) fn learn(
        &mut self,
        on: ComputeBackend,
        (queries, embeddings): (&[f32], &[f32]),
        dim: usize,
        temperature: f64,
        candidates: &Candidates<'_>,
    ) -> f64 {
        let (batch, count) = (queries.len() / dim, embeddings.len() / dim);
        let scale = (1.0 / temperature) as f32;
        let prepared = if let Some(way) = on.bf16 {
            self.factors.fill(on, embeddings, dim);
            Prepared::Bf16(way, &self.factors)
        } else {
            self.transposed.resize(count * dim, 0.0);
            transpose(embeddings, count, dim, &mut self.transposed, count);
            Prepared::Single(&self.transposed, embeddings)
        };
        self.by_query.resize(batch * dim, 0.0);
        self.shards.resize_with(batch.div_ceil(SHARD), Shard::default);
        let work = |(index, (shard, by_query)): (usize, (&mut Shard, &mut [f32]))| {
            let first = index * SHARD;
            shard.learn(on.isa, queries, (first, by_query), (dim, scale), prepared, candidates);
        };
        let parts = self.shards.iter_mut().zip(self.by_query.chunks_mut(SHARD * dim));
        in_parallel(on.threads, parts.enumerate().collect(), work);
        self.by_item.clear();
        self.by_item.resize(count * dim, 0.0);
        let shards = &self.shards;
        let sum = |(index, part): (usize, &mut [f32])| {
            for shard in shards {
                add_scaled(on.isa, part, &shard.by_item[index * SHARD * dim..][..part.len()], scale);
            }
        };
        let parts = self.by_item.chunks_mut(SHARD * dim).enumerate();
        in_parallel(on.threads, parts.collect(), sum);
        if on.bf16.is_some() {
            self.transposed.clone_from(&self.by_item);
            transpose(&self.transposed, dim, count, &mut self.by_item, dim);
        }
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
        prepared: Prepared<'_>,
        candidates: &Candidates<'_>,
    ) {
        let count = candidates.log_q.len();
        let stride = count.next_multiple_of(SLACK) + SLACK;
        self.scores.resize(BLOCK * stride, 0.0);
        self.by_item.resize(count * dim, 0.0);
        self.loss = 0.0;
        for (index, by_query) in by_query.chunks_mut(BLOCK * dim).enumerate() {
            let (start, rows) = (first + index * BLOCK, by_query.len() / dim);
            let block = Block {
                rows,
                count,
                dim,
                stride,
                queries: &queries[start * dim..][..rows * dim],
            };
            match prepared {
                Prepared::Single(transposed, _) => {
                    let (shape, q) = ((rows, dim, count), Strided::rows(block.queries, dim));
                    gemm(isa, shape, q, transposed, count, &mut self.scores, stride, false);
                }
                Prepared::Bf16(way, factors) => self.pairs.scores((isa, way), block, factors, &mut self.scores),
            }
            for (row, scores) in self.scores.chunks_mut(stride).take(rows).enumerate() {
                let row = start + row;
                let (mask, weight) = (candidates.mask.line(row), candidates.weights[row]);
                let (target, own) = candidates.targets[row];
                let (scores, target) = (&mut scores[..count], (target as usize, own));
                let loss = softmax_gradient(isa, scores, scale, candidates.log_q, mask, target, weight);
                self.loss += f64::from(loss) * f64::from(weight);
            }
            let gradients = (&mut *by_query, self.by_item.as_mut_slice());
            let accumulate = index > 0;
            match prepared {
                Prepared::Single(_, embeddings) => {
                    block.gradients(isa, &self.scores, embeddings, gradients, accumulate);
                }
                Prepared::Bf16(way, factors) => {
                    let on = (isa, way);
                    self.pairs
                        .gradients(on, block, factors, &self.scores, gradients, accumulate);
                }
            }
            towline_kernels::scale(isa, by_query, scale);
        }
    }
}

impl Block<'_> {
    /// Multiplies the gradients by the scores out: by the queries, [rows, dim], and by the candidates, [candidates, dim].
    fn gradients(
        &self,
        isa: Isa,
        by_score: &[f32],
        candidates: &[f32],
        (by_query, by_item): (&mut [f32], &mut [f32]),
        accumulate: bool,
    ) {
        let Block {
            rows,
            count,
            dim,
            stride,
            queries,
        } = *self;
        let p = Strided::rows(by_score, stride);
        gemm(isa, (rows, count, dim), p, candidates, dim, by_query, dim, false);
        let p = Strided::columns(by_score, stride);
        gemm(isa, (count, rows, dim), p, queries, dim, by_item, dim, accumulate);
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use towline_kernels::{Mask, Positives};

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
            log_q: &log_q,
            targets: &targets,
            mask: &mask,
            weights: &weights,
        };
        let single = Isa::available().into_iter().map(|isa| (isa, None, (1e-5, 1e-6)));
        let half = Bf16::available()
            .into_iter()
            .map(|way| (Isa::best(), Some(way), (1e-3, 3e-5)));
        for (isa, bf16, most) in single.chain(half) {
            let on = |threads| ComputeBackend { isa, threads, bf16 };
            let mut found = InBatch::default();
            let mut one = InBatch::default();
            let value = found.learn(on(3), (&queries, &items), dim, temperature, &candidates);
            assert_eq!(
                value,
                one.learn(on(1), (&queries, &items), dim, temperature, &candidates)
            );
            assert_eq!((&found.by_query, &found.by_item), (&one.by_query, &one.by_item));
            assert!((value - loss).abs() < most.0, "{isa:?} {bf16:?}: {value} {loss}");
            for (found, exact) in [(&found.by_query, &by_query), (&found.by_item, &by_item)] {
                for (a, b) in found.iter().zip(exact) {
                    assert!((f64::from(*a) - b).abs() < most.1, "{isa:?} {bf16:?}: {a} {b}");
                }
            }
        }
    }
}
