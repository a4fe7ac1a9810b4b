//! Retrieval: training a two-tower model, and everything that is done with one.
//!
//! Only training on a CUDA device and the TorchScript part of an export need libtorch. Other training runs on the kernels
//! of `towline-kernels`; encoding, scoring and evaluation compute the towers in plain Rust, so their results are the same
//! on every machine and with any number of threads.

mod activation;
mod als;
mod ann_index;
mod audience;
mod best_model;
mod bootstrap;
mod catalogue;
mod cells;
mod checkpoint;
mod cold_start;
mod columns;
mod compare_metrics;
mod computing;
mod dense_layers;
mod dropout;
mod ease;
mod embedding_model;
mod encode;
mod ensemble;
mod evaluate;
mod evaluation;
mod fitting;
mod half;
mod hard_negatives;
mod id_reader;
mod ids;
mod in_batch;
mod in_batch_bf16;
mod initial_weights;
mod interactions;
mod item_choice;
mod item_knn;
mod item_weights;
mod learner;
mod liked;
mod metrics;
mod model;
mod model_export;
mod network;
mod numbers;
mod pairwise;
mod planted_optimum;
mod popularity;
mod ranked;
mod ranker;
mod recency;
mod row_blocks;
mod sample_weight;
mod sampling;
mod scales;
mod scoring;
mod seen;
mod side_by_side;
mod sides;
mod survey;
mod temperature;
mod top_k_encode;
mod top_k_run;
#[cfg(feature = "torch")]
mod torch_network;
#[cfg(all(test, feature = "torch"))]
mod torch_network_tests;
#[cfg(feature = "torch")]
mod torch_optimizer;
#[cfg(feature = "torch")]
mod torch_script;
#[cfg(feature = "torch")]
mod torch_tower;
mod tower_files;
mod tower_shape;
mod towers;
mod training;
mod training_options;
mod training_rows;
mod training_warnings;
mod two_tower_checks;
mod two_tower_shape;
mod two_tower_train;
mod users;
mod validation;
mod warm_start;

#[cfg(all(test, feature = "torch"))]
mod dense_reference_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hard_negatives_tests;
#[cfg(test)]
mod input_tests;
#[cfg(test)]
mod layer_option_tests;
#[cfg(test)]
mod mixed_input_tests;
#[cfg(test)]
mod streaming_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod top_k_tests;

pub use activation::Activation;
pub use als::Als;
pub use ann_index::{AnnIndex, Metric};
pub use audience::UserId;
pub use best_model::{BestModel, Goal};
pub use cold_start::ColdStart;
pub use compare_metrics::CompareMetrics;
pub use ease::Ease;
pub use encode::{Encode, Side};
pub use ensemble::Ensemble;
pub use evaluate::{Evaluate, Per};
pub use item_knn::ItemKNN;
pub use model_export::ModelExport;
pub use planted_optimum::PlantedOptimum;
pub use popularity::Popularity;
pub use recency::Recency;
pub use top_k_encode::TopKEncode;
pub use tower_shape::{Normalize, Pool};
pub use training_options::{EarlyStopping, HardNegatives, IdEmbedding, LearningRateSchedule, Loss, Optimizer};
pub use two_tower_train::TwoTowerTrain;
