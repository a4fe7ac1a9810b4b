//! `TwoTowerTrain`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::sample_weight;
use crate::data::tower_columns::{TowerColumns, mismatches};
use crate::evaluate::averaging_unit::Per;
use crate::model::distinct_users::unknown_split;
use crate::towers::activation::Activation;
use crate::towers::tower_shape::{Normalize, Pool};
use crate::train::config::training_options::{
    EarlyStopping, HardNegatives, IdEmbedding, LearningRateSchedule, Loss, Optimizer, Precision, TrainingDevice,
};
use crate::train::validation::{METRICS, metric};
use towline_api::{
    Describe, Form, Inputs, ModelType, NodeType, Operator, Port, Problem, Purity, Result, TypeContext, dataset_at,
    default_split,
};

/// Trains a two-tower retrieval model on positive interactions: one tower embeds the user, one the item, and the dot
/// product of the two says how well they fit.
///
/// Columns go to the towers by their tags (`user`, `item`); one column of each side is its `id`. They are
///
/// - encoded categories: int64 [rows], or lists of them, which are pooled without padding. Each has an embedding table.
///   Columns that share a vocabulary (`joint` of `Categorify`) share one table, in a tower and between the two: what is
///   learnt of an item is known where it is in a user's history;
/// - numbers tagged `continuous`, as `Normalize` makes them, which are inputs as they are. A mean beyond 3 or a standard
///   deviation above 10 in the training split is refused, and so are missing and infinite values: put `Normalize` and
///   `FillMissing` before them. Numbers without the tag are refused before the run;
/// - vectors: lists of floating-point numbers, all of one length, as `PretrainedEmbedding` makes them. They are inputs as
///   they are, too, and stay as they are; `initial` makes them the beginning of embeddings that are learnt.
///
/// Embeddings, numbers and vectors are concatenated and go through an MLP with `activation` between its layers; without layers
/// embeddings are added, and numbers are refused.
///
/// The loss is the softmax over the items of the batch, corrected for how often each is drawn (Yi et al. 2019). Items
/// that the user has interacted with anywhere in the training split are no negatives.
///
/// Embeddings are updated only where a batch names them; what a row has missed under Adam or weight decay is made up for
/// before it is read again, so that the result is that of an optimizer that visits every row at every step. The same
/// seed gives the same bytes on any number of threads. After each epoch the state is kept, and `towline run --resume` goes
/// on from there.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct TwoTowerTrain {
    /// Widths of the layers of each tower; the last is the width of the embeddings. Without any (`[]`) the embeddings of
    /// a side's columns are added.
    #[serde(default = "default_layers")]
    pub layers: Vec<usize>,
    /// What is done to every number between two layers.
    #[serde(default)]
    pub activation: Activation,
    /// The share of what goes into each layer that a step of training leaves out by chance; the rest makes up for it
    /// (Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting"). It needs `layers`.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// Width of every column's embedding; by default twice the fourth root of the number of its ids, rounded up to a
    /// multiple of 8, at most 64. Without layers all are equally wide, by default `64`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4096))]
    pub embedding_dim: Option<usize>,
    /// Widths of the embeddings of single columns, for example `{ item_id: 64 }`; needs `layers`. For columns that share a
    /// table one of them is enough.
    #[serde(default)]
    pub embedding_dims: BTreeMap<String, usize>,
    /// Whether users and items are known by their ids, or by their other columns alone. What training never saw has an id
    /// that says nothing; recommend it with `features_only`.
    #[serde(default)]
    pub id_embedding: IdEmbedding,
    /// Where the embeddings of columns of the items begin: at the vectors of another column of the items, as
    /// `PretrainedEmbedding` makes them, for example `{ item_id: embedding }`. They are learnt on from there, and the column
    /// of vectors is then no input itself.
    #[serde(default)]
    pub initial: BTreeMap<String, String>,
    /// How the embeddings of a list become one; of an empty one, zeros.
    #[serde(default)]
    pub pooling: Pool,
    /// The same for single columns, for example `{ last_items: attention }`.
    #[serde(default)]
    pub poolings: BTreeMap<String, Pool>,
    /// Whether embeddings are scaled to length 1.
    #[serde(default)]
    pub normalize: Normalize,
    /// Scores are divided by it before the softmax; by default 1, or 0.05 with `normalize: l2`.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: Option<f64>,
    /// Whether the temperature is learnt along, from `temperature` on and not below 0.01 (Radford et al. 2021, "Learning
    /// transferable visual models from natural language supervision"); the metric `temperature` says what it has become.
    #[serde(default)]
    pub learn_temperature: bool,
    /// What the item of an interaction is compared with.
    #[serde(default)]
    pub loss: Loss,
    /// Whether to correct for how often an item is drawn as a negative. Without it the model learns to rank against
    /// popularity.
    #[serde(default = "default_true")]
    pub logq: bool,
    /// Whether items that the user has interacted with anywhere in the training split are no negatives.
    #[serde(default = "default_true")]
    pub mask_positives: bool,
    /// Negatives per step that are drawn evenly from the catalogue, beside those of the batch.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub uniform_negatives: usize,
    /// Negatives that the model itself would recommend, beside the others: for every interaction `each` of the `top` best
    /// items of a copy that was frozen before the epoch, for example `{ top: 100, each: 1 }`. The first epoch has none,
    /// but after a `warm_start`. With `logq` a candidate's probability is that of the mixture of all kinds of negatives; how
    /// often an item is drawn as a hard one can be expected exactly for the users of a batch. They cost about as much as
    /// the rest of a step.
    #[serde(default)]
    pub hard_negatives: Option<HardNegatives>,
    /// A column of numbers that says what an interaction counts for, beside the others of its batch, for example
    /// `watched_share`. It is neither null nor negative.
    #[serde(default)]
    pub sample_weight: Option<String>,
    /// Interactions per step; every other one of the batch is a negative.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 2))]
    pub batch_size: usize,
    /// Passes over the training split, at most.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// The weights are the mean of those at the ends of this many last epochs (Izmailov et al. 2018, "Averaging weights leads
    /// to wider optima and better generalization"); the validation of an epoch is of that mean.
    #[serde(default = "default_average_epochs")]
    #[schemars(range(min = 1))]
    pub average_epochs: usize,
    /// Stops when the validation gets no better, and keeps the weights of the best epoch.
    #[serde(default)]
    pub early_stopping: Option<EarlyStopping>,
    /// How weights follow gradients.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Length of the optimizer's steps.
    #[serde(default = "default_learning_rate")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// How the learning rate changes.
    #[serde(default)]
    pub schedule: LearningRateSchedule,
    /// Steps over which the learning rate rises from 0.
    #[serde(default)]
    pub warm_up: u32,
    /// How much weights shrink at every step, all rows of all tables alike. With `adam` and `adagrad` this costs as much
    /// as a dense optimizer; `adam_w` has it for nothing.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_decay: f64,
    /// Shortens the gradient of a step to this length, all weights taken together, for example `1.0`.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub clip_norm: Option<f64>,
    /// Where to train. A CUDA device needs a Towline that was built with a libtorch for CUDA; what is known of the rows and
    /// the optimizer's state then lie in its memory, and so does a matrix of scores, batch by candidates.
    #[serde(default)]
    pub device: TrainingDevice,
    /// What products of matrices are computed in.
    #[serde(default)]
    pub precision: Precision,
    /// How many threads to train with, for example `1`; by default as many as the processor has. It changes no result.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub threads: Option<usize>,
    /// Rows that are shuffled together. Of a larger split each epoch visits blocks of a 64th of that in a random order, and
    /// shuffles the rows of 64 blocks at a time.
    #[serde(default = "default_shuffle_rows")]
    #[schemars(range(min = 1))]
    pub shuffle_rows: usize,
    /// How much memory the training rows may take, for example `2GB`. If they need more they are written to the disk once,
    /// and only those that are shuffled together are in memory. It changes no result. Embedding tables, a row for each item
    /// and the validation split come on top.
    #[serde(default)]
    pub memory_limit: Option<String>,
    /// Decides the initial weights and the order of the rows.
    #[serde(default)]
    pub seed: u64,
    /// The split to train on.
    #[serde(default = "default_split")]
    pub fit_on: String,
    /// The split to validate on after each epoch, over the full catalogue; by default `valid`, if there is one.
    #[serde(default)]
    pub validate_on: Option<String>,
    /// What the metrics of the validation are averaged over.
    #[serde(default = "default_validate_per")]
    pub validate_per: Per,
    /// Whether the validation leaves out what a user has interacted with in the training split.
    #[serde(default)]
    pub exclude_seen: bool,
    /// Lengths of the lists for the metrics of the validation.
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

/// The metric that says which epoch's weights were kept.
pub(crate) const BEST_EPOCH: &str = "best_epoch";
/// The metric that says what a learnt temperature has become.
pub(crate) const TEMPERATURE: &str = "temperature";

impl Describe for TwoTowerTrain {
    const NAME: &'static str = "TwoTowerTrain";
    const CODE_VERSION: u32 = 5;
    const PURITY: Purity = Purity::Seeded;
    const CACHE_IGNORE: &'static [&'static str] = &["memory_limit", "threads"];
    const PORTS: &'static [Port] = &[
        Port::dataset("input", "Positive interactions: encoded columns with their tags."),
        Port::dataset(
            "items",
            "Items to recommend beside those of the interactions, encoded alike: new ones, with their features.",
        )
        .optional(),
        Port::model(
            "warm_start",
            "An earlier model, whose weights are where training begins. Values that it knew keep theirs.",
        )
        .optional(),
    ];
    const EXAMPLE: &'static str = "op: TwoTowerTrain\ninput: features\nwith: { layers: [128, 64], epochs: 2 }\n";

    fn check(&self) -> Vec<Problem> {
        self.problems()
    }
}

impl Operator for TwoTowerTrain {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let dataset = dataset_at(inputs, "input")?;
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
                Problem::new("bad-input", text)
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
                if let Some(NodeType::Dataset(items)) = inputs.get("items") {
                    problems.extend(mismatches(
                        &sides.item.iter().collect::<Vec<_>>(),
                        &items.schema,
                        "items",
                    ));
                }
                if let Some(NodeType::Model(earlier)) = inputs.get("warm_start") {
                    problems.extend(self.other_width(earlier));
                }
                if problems.is_empty() {
                    Ok(NodeType::Model(self.model_type(&sides, validation)))
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
    pub(crate) fn model_type(&self, sides: &TowerColumns, validation: Option<&str>) -> ModelType {
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
