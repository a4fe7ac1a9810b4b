//! Options of a training.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam (Kingma and Ba 2015) with its default constants; `weight_decay` is an L2 penalty.
    #[default]
    Adam,
    /// AdamW: Adam with decoupled `weight_decay` (Loshchilov and Hutter 2019).
    AdamW,
    /// Adagrad (Duchi, Hazan and Singer 2011); `weight_decay` is an L2 penalty.
    Adagrad,
    /// Plain stochastic gradient descent; `weight_decay` is an L2 penalty.
    Sgd,
}

/// Learning rate schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateSchedule {
    /// Constant.
    #[default]
    Constant,
    /// Cosine annealing to 0 at the last step.
    Cosine,
}

/// Precision of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Mixed precision: the factors of a product are rounded to bf16, with 8 significant bits instead of 24; sums, weights
    /// and the state of the optimizer stay in single precision. Several times faster on a processor with AMX, and no
    /// faster on others.
    Bf16,
}

/// Training device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainingDevice {
    /// The processor: the same seed gives the same bytes on any number of threads.
    #[default]
    Cpu,
    /// The first CUDA device, with libtorch; an error without one. The bytes may differ from run to run.
    Cuda,
    /// A CUDA device where there is one, else the processor. The cache reuses the result of either.
    Auto,
}

/// Loss function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Sampled softmax over the items of the batch, `uniform_negatives` and `hard_negatives`.
    #[default]
    SampledSoftmax,
    /// Softmax over the whole catalogue, for catalogues of up to some ten thousand items.
    FullSoftmax,
    /// BPR: pairwise logistic loss against an item drawn uniformly from those that the user has not interacted with (Rendle
    /// et al. 2009, "BPR: Bayesian personalized ranking from implicit feedback"). `logq` has no effect.
    Bpr,
}

/// Hard negatives: items that a frozen copy of the model would recommend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardNegatives {
    /// Number of best items for a user, without those of `mask_positives`, that hard negatives are drawn from. With a small
    /// number many are false negatives.
    #[serde(default = "default_top")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub top: usize,
    /// Hard negatives per interaction. They are negatives of the whole batch.
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

/// Early stopping.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Validation metric without the name of its split, such as `ndcg_at_10`; its k is one of `metrics_at`.
    pub metric: String,
    /// Patience: epochs without improvement before training stops.
    #[serde(default = "default_patience")]
    #[schemars(range(min = 1))]
    pub patience: usize,
}

fn default_patience() -> usize {
    2
}

/// Which towers embed their id column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdEmbedding {
    /// Both: best for users and items with many interactions.
    #[default]
    Both,
    /// Neither: cold-start users and items are embedded as well as their features allow.
    FeaturesOnly,
    /// The user tower; items are embedded by their features.
    ItemFeaturesOnly,
    /// The item tower; users are embedded by their features.
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
