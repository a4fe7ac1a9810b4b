//! Parameters of a training and their checks.

pub(crate) mod training_options;
pub(crate) mod training_warnings;
pub(crate) mod two_tower_checks;
pub(crate) mod two_tower_shape;

pub use training_options::{EarlyStopping, HardNegatives, IdEmbedding, LearningRateSchedule, Loss, Optimizer};
