//! `TwoTowerTrain`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use towline_kernels::{Decay, Rule, Schedule, Step};

use super::evaluate::Per;
use super::sides::Sides;
use super::towers::{EmbeddingShape, Normalize, Pool, TowerShape};
use super::users::unknown_split;
use super::validation::{METRICS, metric};
use crate::contract::{
    Column, DEFAULT_SPLIT, Describe, Form, Inputs, ModelType, NodeType, Operator, OperatorError, Port, Problem, Purity,
    Result, TypeContext, dataset_at,
};

/// How weights follow gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam (Kingma and Ba 2015) with its usual constants; `weight_decay` is L2 regularisation.
    #[default]
    Adam,
    /// Adam whose `weight_decay` stays apart from the gradient (Loshchilov and Hutter 2019).
    AdamW,
    /// Adagrad (Duchi, Hazan and Singer 2011); `weight_decay` is L2 regularisation.
    Adagrad,
    /// Plain stochastic gradient descent; `weight_decay` is L2 regularisation.
    Sgd,
}

/// How the learning rate changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateSchedule {
    /// Not at all.
    #[default]
    Constant,
    /// Along a cosine to 0 at the last step.
    Cosine,
}

/// What is compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The item of an interaction with those of the batch and `uniform_negatives`.
    #[default]
    SampledSoftmax,
    /// The item of an interaction with the whole catalogue: for catalogues of up to some ten thousand items.
    FullSoftmax,
}

/// When to stop before the last epoch.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// A metric of the validation without the name of its split, such as `ndcg_at_10`; its k is one of `metrics_at`.
    pub metric: String,
    /// Epochs without a better value after which to stop.
    #[serde(default = "default_patience")]
    #[schemars(range(min = 1))]
    pub patience: usize,
}

fn default_patience() -> usize {
    2
}

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
/// seed gives the same bytes on any number of threads.
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
    /// Interactions per step; every other one of the batch is a negative.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 2))]
    pub batch_size: usize,
    /// Passes over the training split, at most.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1))]
    pub epochs: usize,
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
    const PORTS: &'static [Port] = &[Port::dataset(
        "input",
        "Positive interactions: encoded columns with their tags.",
    )];
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
            self.uniform_negatives > 0 && self.loss == Loss::FullSoftmax,
            "the full softmax has the whole catalogue as negatives already",
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
        match Sides::of(&dataset.schema) {
            Ok(sides) if problems.is_empty() => Ok(NodeType::Model(self.model_type(&sides, validation))),
            Ok(_) => Err(problems),
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

    /// Width of embeddings that are added.
    fn added_width(&self) -> usize {
        self.embedding_dim.unwrap_or(64)
    }

    /// The shape of the tower of these columns.
    pub(super) fn shape(&self, columns: &[Column]) -> Result<TowerShape> {
        let embedding = |column: &Column| {
            let rows = column.domain.as_ref().and_then(|domain| domain.size);
            let rows = rows.ok_or_else(|| {
                OperatorError::invalid(format!("`{}` does not say how many ids it can hold", column.name))
            })? as usize;
            let rule = ((2.0 * (rows as f64).powf(0.25)).ceil() as usize)
                .next_multiple_of(8)
                .min(64);
            let dim = if self.layers.is_empty() {
                self.added_width()
            } else {
                self.embedding_dim.unwrap_or(rule)
            };
            Ok(EmbeddingShape {
                column: column.name.clone(),
                rows,
                dim,
                pooling: self.pooling,
            })
        };
        let embeddings = columns.iter().map(embedding).collect::<Result<_>>()?;
        Ok(TowerShape {
            embeddings,
            layers: self.layers.clone(),
        })
    }

    /// What scores are divided by.
    pub(super) fn temperature(&self) -> f64 {
        let default = if self.normalize == Normalize::L2 { 0.05 } else { 1.0 };
        self.temperature.unwrap_or(default)
    }

    /// The optimizer, for a training of this many steps.
    pub(super) fn step(&self, steps: usize) -> Step {
        let adam = Rule::Adam {
            beta1: 0.9,
            beta2: 0.999,
        };
        let rule = match self.optimizer {
            Optimizer::Adam | Optimizer::AdamW => adam,
            Optimizer::Adagrad => Rule::Adagrad,
            Optimizer::Sgd => Rule::Sgd,
        };
        let decay = match self.optimizer {
            _ if self.weight_decay == 0.0 => Decay::None,
            Optimizer::AdamW => Decay::Decoupled(self.weight_decay),
            _ => Decay::Coupled(self.weight_decay),
        };
        let cosine = (self.schedule == LearningRateSchedule::Cosine).then_some(steps as u32);
        Step {
            rule,
            decay,
            schedule: Schedule {
                peak: self.learning_rate,
                warm_up: self.warm_up,
                cosine,
            },
        }
    }
}
