//! The training loop.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use towline_kernels::Mask;

use crate::data::positives::UserPositives;
use crate::data::training_rows::{RowWindow, TrainingRows};
use crate::train::config::training_options::Loss;
use crate::train::losses::hard_negatives::{Frozen, Hard};
use crate::train::losses::sampling::{Batch, Sampling};
use crate::train::train_backend::{BatchRows, Candidates, Pairs, TowerRows, TrainBackend};
use towline_api::{Context, OperatorError, Result};

/// A loss above this has diverged: the loss of an untrained model is about the logarithm of the number of candidates.
const EXPLODED: f64 = 1e4;

/// Everything that stays the same over the epochs, and the buffers of a step.
pub(crate) struct Training<'a> {
    /// Rows per step.
    pub(crate) batch_size: usize,
    /// Loss function.
    pub(crate) loss: Loss,
    /// Whether to apply the logQ correction.
    pub(crate) logq: bool,
    /// Negatives per step drawn uniformly from the catalogue.
    pub(crate) uniform_negatives: usize,
    /// The model that hard negatives come from in this epoch.
    pub(crate) frozen: Option<Frozen>,
    /// For progress and cancellation.
    pub(crate) context: &'a Context,
    /// The training rows.
    pub(crate) rows: TrainingRows,
    /// Positives of the users.
    pub(crate) liked: UserPositives,
    /// Sampling of negatives.
    pub(crate) sampling: Sampling,
    /// Mask of the present batch.
    pub(crate) mask: Mask,
}

/// A batch of these rows, with the positives of their users.
fn batch<'a>(chunk: &'a RowWindow, liked: &'a mut UserPositives, rows: &'a [usize]) -> Result<Batch<'a>> {
    let users: Vec<Option<u32>> = rows.iter().map(|&row| chunk.users[row]).collect();
    let (positives, users) = liked.of(&users)?;
    Ok(Batch {
        chunk,
        rows,
        positives,
        users,
    })
}

impl Training<'_> {
    /// Sample weights of these rows, scaled to sum 1, and their sum before that.
    fn weights(&self, rows: &[usize]) -> (Vec<f32>, f64) {
        let weights = &self.rows.chunk.weights;
        if weights.is_empty() {
            return (vec![1.0 / rows.len() as f32; rows.len()], rows.len() as f64);
        }
        let total: f64 = rows.iter().map(|&row| f64::from(weights[row])).sum();
        let share = |&row: &usize| (f64::from(weights[row]) / total) as f32;
        (rows.iter().map(share).collect(), total)
    }

    /// One training step; returns the mean loss of its rows.
    fn step(
        &mut self,
        backend: &mut dyn TrainBackend,
        (rows, weights): (&[usize], &[f32]),
        rng: &mut ChaCha8Rng,
    ) -> Result<f64> {
        let loss = if self.loss == Loss::Bpr {
            self.pairwise(backend, rows, weights, rng)?
        } else {
            self.softmax(backend, rows, weights, rng)?
        };
        if !loss.is_finite() || loss > EXPLODED {
            return Err(self.exploded(backend, rows, loss));
        }
        backend.apply_gradients()?;
        Ok(loss)
    }

    fn pairwise(
        &mut self,
        backend: &mut dyn TrainBackend,
        rows: &[usize],
        weights: &[f32],
        rng: &mut ChaCha8Rng,
    ) -> Result<f64> {
        let chunk = &self.rows.chunk;
        let batch = batch(chunk, &mut self.liked, rows)?;
        let others = self.sampling.unknown(&batch, rng);
        let found: Vec<usize> = others.iter().copied().flatten().collect();
        let drawn = self.sampling.drawn(&batch, &found, &Hard::default(), false);
        let mut beside = drawn.beside.iter().copied();
        let own = drawn.targets.iter().map(|(place, _)| *place);
        let places: Vec<(u32, Option<u32>)> = own
            .zip(&others)
            .map(|(own, other)| (own, other.and_then(|_| beside.next())))
            .collect();
        let pairs = Pairs {
            places: &places,
            weights,
        };
        backend.pairwise_loss(&self.batch_rows(rows, &drawn.rows), &pairs)
    }

    fn batch_rows<'a>(&'a self, rows: &'a [usize], items: &'a [usize]) -> BatchRows<'a> {
        BatchRows {
            queries: TowerRows {
                table: &self.rows.chunk.queries,
                rows,
            },
            items: TowerRows {
                table: &self.rows.chunk.items,
                rows: items,
            },
        }
    }

    fn softmax(
        &mut self,
        backend: &mut dyn TrainBackend,
        rows: &[usize],
        weights: &[f32],
        rng: &mut ChaCha8Rng,
    ) -> Result<f64> {
        let (sampling, chunk) = (&self.sampling, &self.rows.chunk);
        let batch = batch(chunk, &mut self.liked, rows)?;
        let drawn = match self.loss {
            Loss::FullSoftmax => sampling.everything(&batch),
            Loss::SampledSoftmax | Loss::Bpr => {
                let catalogue = sampling.catalogue();
                let uniform = (0..self.uniform_negatives).map(|_| catalogue[rng.random_range(0..catalogue.len())]);
                let uniform: Vec<usize> = uniform.collect();
                let hard = match &self.frozen {
                    Some(frozen) => {
                        let (queries, known) = (chunk.queries.select(rows), sampling.known(&batch));
                        frozen.draw(&queries, &known, self.context, rng)?
                    }
                    None => Hard::default(),
                };
                sampling.drawn(&batch, &uniform, &hard, self.logq)
            }
        };
        sampling.mask(&batch, &drawn, &mut self.mask);
        let candidates = Candidates {
            log_q: &drawn.log_q,
            targets: &drawn.targets,
            mask: &self.mask,
            weights,
        };
        backend.softmax_loss(&self.batch_rows(rows, &drawn.rows), &candidates)
    }

    /// One epoch; returns the mean loss, weighted by sample weights.
    pub(crate) fn epoch(&mut self, backend: &mut dyn TrainBackend, rng: &mut ChaCha8Rng) -> Result<f64> {
        let (mut sum, mut total) = (0.0, 0.0);
        for blocks in self.rows.windows(rng) {
            let mut order = self.rows.take(&blocks)?;
            order.shuffle(rng);
            let (of_window, weight) = self.pass(backend, &order, rng)?;
            sum += of_window;
            total += weight;
        }
        Ok(sum / total)
    }

    /// Trains on rows in memory, in this order; returns the weighted sum of their losses and the sum of their weights.
    pub(crate) fn pass(
        &mut self,
        backend: &mut dyn TrainBackend,
        order: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Result<(f64, f64)> {
        let (mut sum, mut total) = (0.0, 0.0);
        // A row alone has no negatives.
        for rows in order.chunks(self.batch_size).filter(|rows| rows.len() > 1) {
            self.context.cancel.check()?;
            let (weights, weight) = self.weights(rows);
            // Rows of weight 0 have no gradient.
            if weight > 0.0 {
                sum += self.step(backend, (rows, &weights), rng)? * weight;
                total += weight;
            }
            self.context.progress.advance(rows.len() as u64);
        }
        Ok((sum, total))
    }

    fn exploded(&self, backend: &dyn TrainBackend, rows: &[usize], loss: f64) -> OperatorError {
        let columns = backend.non_finite_columns();
        let place = if columns.is_empty() {
            "in the layers or the scores".to_owned()
        } else {
            format!("in the embeddings of {}", columns.join(", "))
        };
        let what = if loss.is_finite() {
            format!("the loss has grown to {loss:.0}")
        } else {
            "the loss is not a number any more".to_owned()
        };
        OperatorError::invalid(format!(
            "{what}, at step {} ({} interactions, the first is row {} of the split): {place}. \
             Lower `learning_rate`, or limit the gradients with `clip_norm`",
            backend.steps() + 1,
            rows.len(),
            rows.first().map_or(0, |row| self.rows.number(*row)),
        ))
    }
}
