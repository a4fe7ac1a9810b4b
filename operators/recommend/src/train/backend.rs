//! What a training backend outside this crate implements and reads.

pub use crate::towers::tower_shape::{EmbeddingShape, Normalize, NumbersShape, Pool, TowerShape};
pub use crate::towers::towers::{Dense, Tower, Towers};
pub use crate::towers::{Activation, Side};
pub use crate::train::config::training_options::Precision;
pub use crate::train::kernel_backend::kernel_backend;
pub use crate::train::network::dropout::{Dropout, DropoutMask};
pub use crate::train::network::temperature::{MIN_TEMPERATURE, TemperatureConfig};
pub use crate::train::train_backend::{
    BackendState, BatchRows, Candidates, NewBackend, Pairs, TowerRows, TrainBackend, TrainingConfig,
};
