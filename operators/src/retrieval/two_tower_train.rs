//! `TwoTowerTrain`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evaluate::Per;
use super::sample_weight;
use super::sides::{Sides, mismatches};
use super::towers::{Normalize, Pool};
use super::training_options::{EarlyStopping, IdEmbedding, LearningRateSchedule, Loss, Optimizer};
use super::users::unknown_split;
use super::validation::{METRICS, metric};
use crate::contract::{
    DEFAULT_SPLIT, Describe, Form, Inputs, ModelType, NodeType, Operator, Port, Problem, Purity, Result, TypeContext,
    dataset_at,
};

/// Trains a two-tower retrieval model on positive interactions: one tower embeds the user, one the item, and the dot
/// product of the two says how well they fit.
///
/// Columns go to the towers by their tags (`user`, `item`); one column of each side is its `id`. All must be encoded
/// categories: int64 [rows], or lists of them, which are pooled without padding. Each column has an embedding table; the
/// embeddings are concatenated and go through an MLP with `ReLU` between its layers, or without layers are added.
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
pub struct TwoTowerTrain {
    /// Widths of the layers of each tower; the last is the width of the embeddings. Without any (`[]`) the embeddings of
    /// a side's columns are added.
    #[serde(default = "default_layers")]
    pub layers: Vec<usize>,
    /// Width of every column's embedding; by default twice the fourth root of the number of its ids, rounded up to a
    /// multiple of 8, at most 64. Without layers all are equally wide, by default `64`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub embedding_dim: Option<usize>,
    /// Widths of the embeddings of single columns, for example `{ item_id: 64 }`; needs `layers`.
    #[serde(default)]
    pub embedding_dims: BTreeMap<String, usize>,
    /// Whether users and items are known by their ids, or by their other columns alone. What training never saw has an id
    /// that says nothing; recommend it with `features_only`.
    #[serde(default)]
    pub id_embedding: IdEmbedding,
    /// How the embeddings of a list become one.
    #[serde(default)]
    pub pooling: Pool,
    /// Whether embeddings are scaled to length 1.
    #[serde(default)]
    pub normalize: Normalize,
    /// Scores are divided by it before the softmax; by default 1, or 0.05 with `normalize: l2`.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub temperature: Option<f64>,
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
    pub uniform_negatives: usize,
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
    /// Decides the initial weights and the order of the rows.
    #[serde(default)]
    pub seed: u64,
    /// The split to train on.
    #[serde(default = "default_fit_on")]
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

fn default_fit_on() -> String {
    DEFAULT_SPLIT.to_owned()
}

/// The metric that says which epoch's weights were kept.
pub(super) const BEST_EPOCH: &str = "best_epoch";

impl Describe for TwoTowerTrain {
    const NAME: &'static str = "TwoTowerTrain";
    const CODE_VERSION: u32 = 3;
    const PURITY: Purity = Purity::Seeded;
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
        let mut problems = Vec::new();
        let mut range = |key: &str, bad: bool, text: &str| {
            if bad {
                problems.push(Problem::new("out-of-range", text).at(key));
            }
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        range(
            "layers",
            self.layers.contains(&0),
            "a layer of width 0 passes nothing on",
        );
        range(
            "metrics_at",
            self.metrics_at.contains(&0),
            "a list of length 0 has no metrics",
        );
        range(
            "average_epochs",
            self.average_epochs > self.epochs,
            "there are fewer epochs than that",
        );
        range(
            "learning_rate",
            !positive(self.learning_rate),
            "the learning rate must be more than 0",
        );
        range(
            "temperature",
            self.temperature.is_some_and(|t| !positive(t)),
            "the temperature must be more than 0",
        );
        range(
            "clip_norm",
            self.clip_norm.is_some_and(|norm| !positive(norm)),
            "the length must be more than 0",
        );
        range(
            "uniform_negatives",
            self.uniform_negatives > 0 && self.loss != Loss::SampledSoftmax,
            "only the sampled softmax takes negatives beside its own",
        );
        range(
            "embedding_dims",
            self.embedding_dims.values().any(|&dim| dim == 0),
            "an embedding of width 0 says nothing",
        );
        range(
            "embedding_dims",
            self.layers.is_empty() && !self.embedding_dims.is_empty(),
            "embeddings that are added, without layers, are all equally wide",
        );
        if let Some(early) = &self.early_stopping {
            let known = self.validation_metrics();
            if !known.contains(&early.metric) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let help = crate::contract::suggest::sentence(&early.metric, &known, "metrics");
                let text = format!("there is no metric `{}`", early.metric);
                problems.push(Problem::new("bad-config", text).at("early_stopping").help(help));
            }
        }
        problems
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
        match Sides::of(&dataset.schema) {
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
    pub(super) fn validation<'a>(&'a self, mut splits: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let wanted = self.validate_on.as_deref().unwrap_or("valid");
        splits.find(|split| *split == wanted)
    }

    /// What stands against towers of these columns.
    fn inputs_of_towers(&self, sides: &Sides) -> Vec<Problem> {
        let (query, item) = self.tower_columns(sides);
        let mut problems = Vec::new();
        for (side, columns) in [("user", &query), ("item", &item)] {
            if columns.is_empty() {
                let text = format!("the {side} tower would have no column, for only the id is tagged {side}");
                problems.push(Problem::new("bad-input", text).at("id_embedding"));
            }
        }
        let names: Vec<&str> = query.iter().chain(&item).map(|column| column.name.as_str()).collect();
        for name in self
            .embedding_dims
            .keys()
            .filter(|name| !names.contains(&name.as_str()))
        {
            let help = crate::contract::suggest::sentence(name, &names, "columns");
            let text = format!("no tower has a column `{name}`");
            problems.push(Problem::new("unknown-column", text).at("embedding_dims").help(help));
        }
        problems
    }

    /// A model that makes embeddings of another width cannot be where training begins.
    fn other_width(&self, earlier: &ModelType) -> Option<Problem> {
        let wanted = self.layers.last().copied().unwrap_or_else(|| self.added_width());
        let text = match earlier.dim {
            Some(dim) if dim == wanted => return None,
            Some(dim) => format!("the embeddings of `warm_start` are {dim} wide, those of this model {wanted}"),
            None => "`warm_start` has no embeddings".to_owned(),
        };
        Some(Problem::new("bad-input", text).at_port("warm_start"))
    }

    /// The metrics of a validation without the name of its split.
    fn validation_metrics(&self) -> Vec<String> {
        self.metrics_at
            .iter()
            .flat_map(|k| METRICS.map(|name| format!("{name}_at_{k}")))
            .collect()
    }

    /// The type of the model.
    pub(super) fn model_type(&self, sides: &Sides, validation: Option<&str>) -> ModelType {
        let mut metrics = vec!["loss".to_owned()];
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
