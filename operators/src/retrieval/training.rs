//! The training loop.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use towline_kernels::Mask;

use super::columns::EncodedTable;
use super::hard_negatives::{Frozen, Hard};
use super::in_batch::{Candidates, InBatch};
use super::network::Network;
use super::pairwise::{self, Pairs};
use super::sampling::Sampling;
use super::training_options::Loss;
use crate::contract::{Context, OperatorError, Result};

/// Everything that stays the same over the epochs, and the memory of a step.
pub(crate) struct Training<'a> {
    /// Rows per step.
    pub(crate) batch_size: usize,
    /// What scores are divided by.
    pub(crate) temperature: f64,
    /// What is compared with what.
    pub(crate) loss: Loss,
    /// Whether to correct for how often an item is drawn.
    pub(crate) logq: bool,
    /// Negatives per step that are drawn evenly from the catalogue.
    pub(crate) uniform_negatives: usize,
    /// Where hard negatives come from in this epoch.
    pub(crate) frozen: Option<Frozen>,
    /// For progress and cancellation.
    pub(crate) context: &'a Context,
    /// What each training row counts for; all alike without.
    pub(crate) row_weights: Option<Vec<f32>>,
    /// The training rows.
    pub(crate) train: &'a EncodedTable,
    /// Frequencies and positives of the rows.
    pub(crate) sampling: Sampling,
    /// The loss at work.
    pub(crate) in_batch: InBatch,
    /// The mask of the batch at hand.
    pub(crate) mask: Mask,
}

impl Training<'_> {
    /// What the loss of each of these rows counts for in a batch, in all 1, and the sum of their weights.
    fn weights(&self, rows: &[usize]) -> (Vec<f32>, f64) {
        let Some(weights) = &self.row_weights else {
            return (vec![1.0 / rows.len() as f32; rows.len()], rows.len() as f64);
        };
        let total: f64 = rows.iter().map(|&row| f64::from(weights[row])).sum();
        let share = |&row: &usize| (f64::from(weights[row]) / total) as f32;
        (rows.iter().map(share).collect(), total)
    }

    /// One step; returns the mean loss of its rows.
    fn step(
        &mut self,
        network: &mut Network,
        (rows, weights): (&[usize], &[f32]),
        rng: &mut ChaCha8Rng,
    ) -> Result<f64> {
        let loss = if self.loss == Loss::Bpr {
            self.pairwise(network, rows, weights, rng)?
        } else {
            self.softmax(network, rows, weights, rng)?
        };
        if !loss.is_finite() {
            return Err(exploded(network, rows));
        }
        std::mem::swap(&mut network.query.gradient, &mut self.in_batch.by_query);
        std::mem::swap(&mut network.item.gradient, &mut self.in_batch.by_item);
        network.learn();
        Ok(loss)
    }

    fn pairwise(
        &mut self,
        network: &mut Network,
        rows: &[usize],
        weights: &[f32],
        rng: &mut ChaCha8Rng,
    ) -> Result<f64> {
        let others = self.sampling.unknown(rows, rng);
        let found: Vec<usize> = others.iter().copied().flatten().collect();
        let drawn = self.sampling.drawn(rows, &found, &Hard::default(), false);
        network.forward((self.train, rows), (self.train, &drawn.rows))?;
        let mut beside = drawn.beside.iter().copied();
        let own = drawn.targets.iter().map(|(place, _)| *place);
        let places: Vec<(u32, Option<u32>)> = own
            .zip(&others)
            .map(|(own, other)| (own, other.and_then(|_| beside.next())))
            .collect();
        let pairs = Pairs {
            embeddings: network.item.output(),
            places: &places,
            weights,
        };
        let gradients = (&mut self.in_batch.by_query, &mut self.in_batch.by_item);
        let (queries, dim) = (network.query.output(), network.query.dim());
        Ok(pairwise::learn(queries, dim, self.temperature, &pairs, gradients))
    }

    fn softmax(&mut self, network: &mut Network, rows: &[usize], weights: &[f32], rng: &mut ChaCha8Rng) -> Result<f64> {
        let sampling = &self.sampling;
        let drawn = match self.loss {
            Loss::FullSoftmax => sampling.everything(rows),
            Loss::SampledSoftmax | Loss::Bpr => {
                let catalogue = sampling.catalogue();
                let uniform = (0..self.uniform_negatives).map(|_| catalogue[rng.random_range(0..catalogue.len())]);
                let uniform: Vec<usize> = uniform.collect();
                let hard = match &self.frozen {
                    Some(frozen) => {
                        let (queries, known) = (self.train.select(rows), sampling.known(rows));
                        frozen.draw(&queries, &known, self.context, rng)?
                    }
                    None => Hard::default(),
                };
                sampling.drawn(rows, &uniform, &hard, self.logq)
            }
        };
        sampling.mask(rows, &drawn, &mut self.mask);
        network.forward((self.train, rows), (self.train, &drawn.rows))?;
        let candidates = Candidates {
            embeddings: network.item.output(),
            log_q: &drawn.log_q,
            targets: &drawn.targets,
            mask: &self.mask,
            weights,
        };
        let dim = network.query.dim();
        let (on, queries) = (network.on(), network.query.output());
        Ok(self.in_batch.learn(on, queries, dim, self.temperature, &candidates))
    }

    /// One pass; returns the mean loss, by the weights of the rows.
    pub(crate) fn epoch(&mut self, network: &mut Network, order: &[usize], rng: &mut ChaCha8Rng) -> Result<f64> {
        let (mut sum, mut total) = (0.0, 0.0);
        // A row alone has no negatives.
        for rows in order.chunks(self.batch_size).filter(|rows| rows.len() > 1) {
            self.context.cancel.check()?;
            let (weights, weight) = self.weights(rows);
            // Rows that count for nothing teach nothing.
            if weight > 0.0 {
                sum += self.step(network, (rows, &weights), rng)? * weight;
                total += weight;
            }
            self.context.progress.advance(rows.len() as u64);
        }
        Ok(sum / total)
    }

    /// How many steps a pass takes.
    pub(crate) fn steps(rows: usize, batch_size: usize) -> usize {
        rows / batch_size + usize::from(rows % batch_size > 1)
    }
}

fn exploded(network: &Network, rows: &[usize]) -> OperatorError {
    let columns = network.broken();
    let place = if columns.is_empty() {
        "in the layers or the scores".to_owned()
    } else {
        format!("in the embeddings of {}", columns.join(", "))
    };
    OperatorError::invalid(format!(
        "the loss is not a number any more, at step {} ({} interactions, the first is row {} of the split): {place}. Lower \
         `learning_rate`, or limit the gradients with `clip_norm`",
        network.steps() + 1,
        rows.len(),
        rows.first().copied().unwrap_or_default(),
    ))
}
