//! The interface of training backends: what computes losses, gradients and the optimizer's steps.

use std::borrow::Cow;
use std::fmt::Debug;

use towline_kernels::{Mask, Step};

use crate::data::feature_column::IdFeatures;
use crate::data::feature_table::FeatureTable;
use crate::towers::towers::Towers;
use crate::train::config::training_options::Precision;
use crate::train::network::dropout::Dropout;
use crate::train::network::temperature::TemperatureConfig;
use towline_api::{PADDING_ID, Result};

/// Hyperparameters of a training that every backend needs.
#[derive(Debug, Clone, Copy)]
pub struct TrainingConfig {
    /// The optimizer.
    pub step: Step,
    /// Maximum global L2 norm of the gradient.
    pub clip_norm: Option<f64>,
    /// Dropout on the input of each layer.
    pub dropout: Option<Dropout>,
    /// Softmax temperature.
    pub temperature: TemperatureConfig,
}

/// Input rows of one tower for one step.
#[derive(Debug, Clone, Copy)]
pub struct TowerRows<'a> {
    pub(crate) table: &'a FeatureTable,
    pub(crate) rows: &'a [usize],
}

impl TowerRows<'_> {
    /// Number of rows.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The ids of a column, row-major, and how many there are of each row; lists are padded to the longest.
    pub fn ids(&self, column: &str) -> Result<(Vec<i64>, usize)> {
        let (values, offsets) = match self.table.get(column)? {
            IdFeatures::Single(ids) => return Ok((self.rows.iter().map(|&row| ids[row]).collect(), 1)),
            IdFeatures::Lists { offsets, values } => (values, offsets),
        };
        let list = |row: usize| &values[offsets[row]..offsets[row + 1]];
        let longest = self.rows.iter().map(|&row| list(row).len()).max().unwrap_or(0).max(1);
        let mut all = Vec::with_capacity(self.rows.len() * longest);
        for (index, &row) in self.rows.iter().enumerate() {
            all.extend_from_slice(list(row));
            all.resize((index + 1) * longest, PADDING_ID);
        }
        Ok((all, longest))
    }

    /// The numbers of a column, row-major [rows, width].
    pub fn numbers(&self, column: &str, width: usize) -> Result<Vec<f32>> {
        let numbers = self.table.numbers(column, width)?;
        Ok(self.rows.iter().flat_map(|row| numbers.row(*row)).copied().collect())
    }
}

/// Inputs of one training step.
#[derive(Debug, Clone, Copy)]
pub struct BatchRows<'a> {
    /// The users of the batch.
    pub queries: TowerRows<'a>,
    /// The candidate items.
    pub items: TowerRows<'a>,
}

/// Candidates of the softmax of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Candidates<'a> {
    /// Log of the probability that a candidate is drawn, less the log of how often it was, [candidates]; zeros for no
    /// correction.
    pub log_q: &'a [f32],
    /// The positive candidate of each row of the batch, with the log of the probability that it is drawn for this row,
    /// [batch].
    pub targets: &'a [(u32, f32)],
    /// Candidates that are no negatives.
    pub mask: &'a Mask,
    /// Sample weights, [batch]; their sum should be 1.
    pub weights: &'a [f32],
}

/// Positive and negative candidates of a pairwise loss.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// The positive and the negative candidate of each row, [batch]; a row without a negative adds nothing to the loss.
    pub places: &'a [(u32, Option<u32>)],
    /// Sample weights, [batch].
    pub weights: &'a [f32],
}

/// Everything that the next step depends on besides the number of steps so far.
#[derive(Debug, Clone, Default)]
pub struct BackendState<'a> {
    /// Weights and the optimizer's moments.
    pub numbers: Vec<Cow<'a, [f32]>>,
    /// Last step of each row of each embedding table, where steps are lazy.
    pub last_steps: Vec<&'a [u32]>,
}

/// Both towers in training.
pub trait TrainBackend: Debug {
    /// The weighted sum of the softmax losses of the rows; its gradients stay for [`TrainBackend::apply_gradients`].
    fn softmax_loss(&mut self, batch: &BatchRows<'_>, candidates: &Candidates<'_>) -> Result<f64>;

    /// The weighted sum of the pairwise losses of the rows; its gradients stay for [`TrainBackend::apply_gradients`].
    fn pairwise_loss(&mut self, batch: &BatchRows<'_>, pairs: &Pairs<'_>) -> Result<f64>;

    /// One optimizer step along the gradients of the last loss.
    fn apply_gradients(&mut self) -> Result<()>;

    /// The present softmax temperature.
    fn temperature(&self) -> Result<f64>;

    /// Steps made so far.
    fn steps(&self) -> usize;

    /// Copies all weights to `towers`.
    fn download(&mut self, towers: &mut Towers) -> Result<()>;

    /// The state for a checkpoint.
    fn state(&self) -> Result<BackendState<'_>>;

    /// Goes on from a [`TrainBackend::state`]; `false`, with nothing changed, if the sizes are not those of these towers.
    fn restore(&mut self, steps: usize, numbers: &[Vec<f32>], last_steps: &[Vec<u32>]) -> Result<bool>;

    /// Columns with embeddings that are not finite, as far as the last batch tells.
    fn non_finite_columns(&self) -> Vec<&str>;
}

/// Makes the backend of a training from the initial weights; the number is that of the threads.
pub type NewBackend<'a> = dyn Fn(&Towers, &TrainingConfig, Precision, usize) -> Result<Box<dyn TrainBackend>> + 'a;
