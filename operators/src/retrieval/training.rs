//! The training loop.

use tch::Tensor;
use tch::nn::Optimizer;

use super::columns::EncodedTable;
use super::loss::sampled_softmax;
use super::sampling::Sampling;
use super::torch_towers::{TorchTower, torch};
use crate::contract::{Context, OperatorError, Result};

/// Everything that stays the same over the epochs.
pub(crate) struct Training<'a> {
    /// Rows per step.
    pub(crate) batch_size: usize,
    /// What scores are divided by.
    pub(crate) temperature: f64,
    /// Whether to correct for how often an item is drawn.
    pub(crate) logq: bool,
    /// For progress and cancellation.
    pub(crate) context: &'a Context,
    /// The training rows.
    pub(crate) train: &'a EncodedTable,
    /// The user of each row.
    pub(crate) users: &'a [i64],
    /// The item of each row.
    pub(crate) items: &'a [i64],
    /// Frequencies and positives of the rows.
    pub(crate) sampling: Sampling,
    /// Where tensors live.
    pub(crate) device: tch::Device,
}

impl Training<'_> {
    /// One step; returns the loss.
    fn step(&self, query: &TorchTower, item: &TorchTower, optimizer: &mut Optimizer, rows: &[usize]) -> Result<f64> {
        let users: Vec<i64> = rows.iter().map(|&row| self.users[row]).collect();
        let items: Vec<i64> = rows.iter().map(|&row| self.items[row]).collect();
        let q = query.forward(self.train, rows, self.device)?;
        let v = item.forward(self.train, rows, self.device)?;
        let log_q = if self.logq {
            self.sampling.log_q(&items)
        } else {
            vec![0.0; items.len()]
        };
        let mask = self.sampling.mask(&users, &items);
        let mut learn = || {
            let log_q = Tensor::f_from_slice(&log_q)?.f_to_device(self.device)?;
            let gradients = sampled_softmax(&q, &v, self.temperature, &log_q, &mask)?;
            optimizer.zero_grad();
            // The gradient of this sum by the weights is that of the loss.
            let by_query = q.f_mul(&gradients.query)?.f_sum(tch::Kind::Float)?;
            let by_item = v.f_mul(&gradients.item)?.f_sum(tch::Kind::Float)?;
            by_query.f_add(&by_item)?.f_backward()?;
            optimizer.step();
            Ok(gradients.loss)
        };
        learn().map_err(torch)
    }

    /// One pass; returns the mean loss.
    pub(crate) fn epoch(
        &self,
        query: &TorchTower,
        item: &TorchTower,
        optimizer: &mut Optimizer,
        order: &[usize],
    ) -> Result<f64> {
        let (mut sum, mut count) = (0.0, 0);
        // A row alone has no negatives.
        for rows in order.chunks(self.batch_size).filter(|rows| rows.len() > 1) {
            self.context.cancel.check()?;
            let loss = self.step(query, item, optimizer, rows)?;
            if !loss.is_finite() {
                return Err(OperatorError::invalid(
                    "the loss is not a number any more: lower `learning_rate`",
                ));
            }
            sum += loss * rows.len() as f64;
            count += rows.len();
            self.context.progress.advance(rows.len() as u64);
        }
        Ok(sum / count as f64)
    }
}
