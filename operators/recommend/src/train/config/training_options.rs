//! What can be chosen about a training.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// What products of matrices are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// The factors of a product are rounded to bf16, which has 8 digits of the mantissa's 24; sums, weights and what the
    /// optimizer remembers stay in single precision. Several times faster on a processor with AMX, and for nothing on
    /// others.
    Bf16,
}

/// Where a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainingDevice {
    /// On the processor: the same seed gives the same bytes on any number of threads.
    #[default]
    Cpu,
    /// With libtorch on the first CUDA device, or not at all. The bytes may differ from run to run.
    Cuda,
    /// On a CUDA device where there is one, else on the processor. The result of either is taken for that of both.
    Auto,
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
    /// The item of an interaction with one that is drawn evenly from those the user has not interacted with (Rendle et al.
    /// 2009, "BPR: Bayesian personalized ranking from implicit feedback"). There is no `logq` in it.
    Bpr,
}

/// Negatives that a frozen copy of the model would recommend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardNegatives {
    /// How many of the copy's best items for a user, without those of `mask_positives`, negatives are drawn from. The first
    /// few are often what the user would like.
    #[serde(default = "default_top")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub top: usize,
    /// How many are drawn for each interaction. They are negatives of the whole batch.
    #[serde(default = "default_each")]
    #[schemars(range(min = 1, max = 1000))]
    pub each: usize,
}

fn default_top() -> usize {
    100
}

fn default_each() -> usize {
    1
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

/// Whether towers know their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdEmbedding {
    /// Both do: most is learnt of those that are often seen.
    #[default]
    Both,
    /// Neither does: what is new is known as well as its features.
    FeaturesOnly,
    /// The user tower does, items are known by their features.
    ItemFeaturesOnly,
    /// The item tower does, users are known by their features.
    UserFeaturesOnly,
}

impl IdEmbedding {
    /// Whether the tower of the users, and that of the items, has a table for its id.
    pub(crate) fn of_sides(self) -> (bool, bool) {
        let user = matches!(self, IdEmbedding::Both | IdEmbedding::ItemFeaturesOnly);
        let item = matches!(self, IdEmbedding::Both | IdEmbedding::UserFeaturesOnly);
        (user, item)
    }
}
