//! `TwoTowerTrain`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::sample_weight;
use crate::data::tower_columns::{TowerColumns, mismatches};
use crate::evaluate::averaging_unit::Per;
use crate::model::distinct_users::unknown_split;
use crate::model::retrieval_type::RetrievalType;
use crate::towers::activation::Activation;
use crate::towers::tower_shape::{Normalize, Pool};
use crate::train::config::training_options::{
    EarlyStopping, HardNegatives, IdEmbedding, LearningRateSchedule, Loss, Optimizer, Precision, TrainingDevice,
};
use crate::train::validation::{METRICS, metric};
use towline_api::{
    Code, DatasetPort, Describe, Form, Inputs, ModelPort, NodeType, Operator, Optional, Port, Problem, Purity, Result,
    TypeContext, default_split,
};

/// Trains a two-tower retrieval model on positive interactions: a user tower and an item tower, whose embeddings are
/// scored by their dot product.
///
/// Columns go to the towers by their tags (`user`, `item`); one column of each side is its `id`. They are
///
/// - categorical: encoded ids, int64 [rows], or lists of them, which are pooled without padding. Each has an embedding table.
///   Columns that share a vocabulary (`joint` of `Categorify`) share one table, in a tower and between the two: the
///   embedding of an item is also that of the item in a user's history;
/// - continuous: numbers tagged `continuous`, as `Normalize` makes them. A mean beyond 3 or a standard deviation above 10
///   in the training split is an error, and so are missing and infinite values: put `Normalize` and `FillMissing` before
///   them. Numbers without the tag are an error before the run;
/// - vectors: lists of floating-point numbers, all of one length, as `PretrainedEmbedding` makes them. They are fixed
///   inputs; with `initial` they initialise an embedding table instead.
///
/// Embeddings, numbers and vectors are concatenated and go through an MLP; without `layers` embeddings are added, and
/// numbers are an error.
///
/// The loss is the in-batch sampled softmax with logQ correction (Yi et al. 2019). Items that the user has interacted with
/// anywhere in the training split are no negatives.
///
/// Optimizer steps on embedding tables are lazy but exact: a row that no batch reads catches up on Adam's moments and weight
/// decay before it is read again, so that the result is that of a dense optimizer. The same seed gives the same bytes on any
/// number of threads. Each epoch ends with a checkpoint, from which `towline run --resume` goes on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct TwoTowerTrain {
    /// Layer widths of each tower; the last is the width of its embeddings. Without layers (`[]`) the embeddings of the
    /// columns are added.
    #[serde(default = "default_layers")]
    pub layers: Vec<usize>,
    /// Activation function between hidden layers.
    #[serde(default)]
    pub activation: Activation,
    /// Dropout probability on each layer's input, scaled by `1 / (1 - dropout)` (Srivastava et al. 2014, "Dropout: a simple
    /// way to prevent neural networks from overfitting"). It needs `layers`.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// Embedding width of every column; by default twice the fourth root of the number of its ids, rounded up to a
    /// multiple of 8, at most 64. Without layers one width for all, by default `64`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4096))]
    pub embedding_dim: Option<usize>,
    /// Embedding widths by column, for example `{ item_id: 64 }`; needs `layers`. Of columns that share a table one is
    /// enough.
    #[serde(default)]
    pub embedding_dims: BTreeMap<String, usize>,
    /// Which towers embed their id column. Ids that are not in the training data have no trained embedding: for cold-start
    /// users and items use `features_only`.
    #[serde(default)]
    pub id_embedding: IdEmbedding,
    /// Initial embeddings of item columns: for each the column of vectors, as `PretrainedEmbedding` makes them, that
    /// initialises its table, for example `{ item_id: embedding }`. Training updates them, and the column of vectors is no
    /// input itself.
    #[serde(default)]
    pub initial: BTreeMap<String, String>,
    /// Pooling of the embeddings of a list; an empty list gives zeros.
    #[serde(default)]
    pub pooling: Pool,
    /// Pooling by column, for example `{ last_items: attention }`; columns that are not named use `pooling`.
    #[serde(default)]
    pub poolings: BTreeMap<String, Pool>,
    /// Normalisation of the embeddings of both towers.
    #[serde(default)]
    pub normalize: Normalize,
    /// Softmax temperature, by which scores are divided; by default 1, or 0.05 with `normalize: l2`.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: Option<f64>,
    /// Whether the temperature is a trained parameter, initialised with `temperature` and at least 0.01 (Radford et al. 2021,
    /// "Learning transferable visual models from natural language supervision"); the metric `temperature` reports it.
    #[serde(default)]
    pub learn_temperature: bool,
    /// Loss function.
    #[serde(default)]
    pub loss: Loss,
    /// LogQ correction for the sampling probability of negatives. Without it the model learns to rank against popularity.
    #[serde(default = "default_true")]
    pub logq: bool,
    /// Whether to mask negatives that the user has interacted with anywhere in the training split.
    #[serde(default = "default_true")]
    pub mask_positives: bool,
    /// Negatives per step drawn uniformly from the catalogue, beside the in-batch negatives.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub uniform_negatives: usize,
    /// Hard negatives beside the others: for every interaction `each` of the `top` best items by a copy of the model from
    /// the end of the last epoch, for example `{ top: 100, each: 1 }`. The first epoch has none unless there is a
    /// `warm_start`. With `logq` the sampling probability is that of the mixture of all kinds of negatives; the share of hard
    /// ones is exact for the users of a batch. They cost about as much as the rest of a step.
    #[serde(default)]
    pub hard_negatives: Option<HardNegatives>,
    /// Column of sample weights, relative to the other interactions of a batch, for example `watched_share`. Values must be
    /// neither null nor negative.
    #[serde(default)]
    pub sample_weight: Option<String>,
    /// Batch size: interactions per step. Each is a negative of the others.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 2))]
    pub batch_size: usize,
    /// Maximum number of epochs.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// Stochastic weight averaging: the model is the mean of the weights at the ends of this many last epochs (Izmailov et al.
    /// 2018, "Averaging weights leads to wider optima and better generalization"); the validation uses that mean.
    #[serde(default = "default_average_epochs")]
    #[schemars(range(min = 1))]
    pub average_epochs: usize,
    /// Early stopping on a validation metric; the weights of the best epoch are kept.
    #[serde(default)]
    pub early_stopping: Option<EarlyStopping>,
    /// Optimizer.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Learning rate.
    #[serde(default = "default_learning_rate")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// Learning rate schedule.
    #[serde(default)]
    pub schedule: LearningRateSchedule,
    /// Warm-up: steps over which the learning rate rises linearly from 0.
    #[serde(default)]
    pub warm_up: u32,
    /// Weight decay: L2 penalty (`adam`, `adagrad`, `sgd`) or decoupled (`adam_w`). It applies to all rows of all tables at
    /// every step; with `adam` and `adagrad` that costs as much as a dense optimizer, with `adam_w` and `sgd` nothing.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_decay: f64,
    /// Maximum global L2 norm of the gradient, for example `1.0`; longer gradients are scaled down.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub clip_norm: Option<f64>,
    /// Device. Training on a CUDA device runs in the worker program `towline-torch`, built with a libtorch for CUDA; the weights,
    /// the state of the optimizer and a score matrix, batch by candidates, are in the memory of the device.
    #[serde(default)]
    pub device: TrainingDevice,
    /// Precision of matrix products.
    #[serde(default)]
    pub precision: Precision,
    /// Number of threads, for example `1`; by default that of the processor. It does not change the result.
    #[serde(default)]
    #[schemars(range(min = 1))]
    #[schemars(transform = towline_api::cache_ignored)]
    pub threads: Option<usize>,
    /// Shuffle buffer: rows that are shuffled together. A larger split is read in blocks of a 64th of that, in a random order,
    /// and the rows of 64 blocks are shuffled at a time.
    #[serde(default = "default_shuffle_rows")]
    #[schemars(range(min = 1))]
    pub shuffle_rows: usize,
    /// Memory limit of the training rows, for example `2GB`. Beyond it they spill to disk, and only the shuffle buffer is in
    /// memory. It does not change the result. Embedding tables, a row for each item and the validation split come on top.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub memory_limit: Option<String>,
    /// Random seed of the initial weights, the order of the rows, dropout and sampled negatives.
    #[serde(default)]
    pub seed: u64,
    /// Training split.
    #[serde(default = "default_split")]
    pub fit_on: String,
    /// Validation split, evaluated over the full catalogue after each epoch; by default `valid`, if there is one.
    #[serde(default)]
    pub validate_on: Option<String>,
    /// Unit that validation metrics are averaged over.
    #[serde(default = "default_validate_per")]
    pub validate_per: Per,
    /// Whether the validation excludes items that the user has interacted with in the training split.
    #[serde(default)]
    pub exclude_seen: bool,
    /// Cut-offs k of the validation metrics.
    #[serde(default = "default_metrics_at")]
    pub metrics_at: Vec<usize>,
}

fn default_layers() -> Vec<usize> {
    vec![128, 64]
}

fn default_batch_size() -> usize {
    4096
}

fn default_epochs() -> usize {
    2
}

fn default_average_epochs() -> usize {
    1
}

fn default_shuffle_rows() -> usize {
    1 << 20
}

fn default_learning_rate() -> f64 {
    1e-3
}

fn default_true() -> bool {
    true
}

fn default_validate_per() -> Per {
    Per::Interaction
}

fn default_metrics_at() -> Vec<usize> {
    vec![10]
}

/// Metric: the epoch whose weights were kept.
pub(crate) const BEST_EPOCH: &str = "best_epoch";
/// Metric: the trained temperature.
pub(crate) const TEMPERATURE: &str = "temperature";

pub(crate) const INPUT: DatasetPort =
    DatasetPort::required("input", "Positive interactions: encoded columns with their tags.");
pub(crate) const NEW_ITEMS: DatasetPort<Optional> = DatasetPort::optional(
    "items",
    "Items to recommend beside those of the interactions, encoded alike: new ones, with their features.",
);
pub(crate) const WARM_START: ModelPort<Optional> = ModelPort::optional(
    "warm_start",
    "An earlier model, whose weights are where training begins. Values that it knew keep theirs.",
);

impl Describe for TwoTowerTrain {
    const NAME: &'static str = "TwoTowerTrain";
    const CODE_VERSION: u32 = 5;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[INPUT.port(), NEW_ITEMS.port(), WARM_START.port()];
    const EXAMPLE: &'static str = "op: TwoTowerTrain\ninput: features\nwith: { layers: [128, 64], epochs: 2 }\n";

    fn check(&self) -> Vec<Problem> {
        self.problems()
    }
}

impl Operator for TwoTowerTrain {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let dataset = INPUT.input_type(inputs)?;
        let mut problems: Vec<Problem> = unknown_split(Some(&self.fit_on), &dataset.splits, "fit_on")
            .into_iter()
            .collect();
        problems.extend(unknown_split(
            self.validate_on.as_deref(),
            &dataset.splits,
            "validate_on",
        ));
        let validation = self.validation(dataset.splits.iter().map(String::as_str));
        if self.early_stopping.is_some() && validation.is_none() {
            let text = "there is no split to validate on";
            problems.push(
                Problem::new(Code::BadInput, text)
                    .at("early_stopping")
                    .help("name one with `validate_on`"),
            );
        }
        if let Some(name) = &self.sample_weight {
            problems.extend(sample_weight::problem(name, &dataset.schema));
        }
        match TowerColumns::of(&dataset.schema) {
            Ok(sides) => {
                problems.extend(self.inputs_of_towers(&sides));
                if let Some(items) = NEW_ITEMS.input_type(inputs)? {
                    problems.extend(mismatches(
                        &sides.item.iter().collect::<Vec<_>>(),
                        &items.schema,
                        NEW_ITEMS.name(),
                    ));
                }
                if let Some(earlier) = RetrievalType::at_optional(WARM_START, inputs)? {
                    problems.extend(self.other_width(&earlier));
                }
                if problems.is_empty() {
                    Ok(NodeType::Model(self.model_type(&sides, validation).into()))
                } else {
                    Err(problems)
                }
            }
            Err(more) => Err([problems, more].concat()),
        }
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl TwoTowerTrain {
    /// The split to validate on, if there is one.
    pub(crate) fn validation<'a>(&'a self, mut splits: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let wanted = self.validate_on.as_deref().unwrap_or("valid");
        splits.find(|split| *split == wanted)
    }

    /// The type of the model.
    pub(crate) fn model_type(&self, sides: &TowerColumns, validation: Option<&str>) -> RetrievalType {
        let mut metrics = vec!["loss".to_owned()];
        if self.learn_temperature {
            metrics.push(TEMPERATURE.to_owned());
        }
        if let Some(split) = validation {
            metrics.extend(
                self.metrics_at
                    .iter()
                    .flat_map(|k| METRICS.map(|name| metric(split, name, *k))),
            );
        }
        if self.early_stopping.is_some() {
            metrics.push(BEST_EPOCH.to_owned());
        }
        let dim = self.layers.last().copied().unwrap_or_else(|| self.added_width());
        sides.model_type(dim, self.normalize.score(), metrics)
    }
}
