//! Training of two-tower models.

pub mod backend;
pub(crate) mod checkpoint;
pub mod config;
pub(crate) mod data_scan;
pub(crate) mod kernel_backend;
pub(crate) mod losses;
pub(crate) mod network;
pub(crate) mod train_backend;
pub(crate) mod training_device;
pub(crate) mod training_loop;
mod training_output;
pub(crate) mod training_run;
pub(crate) mod two_tower_train;
pub(crate) mod validation;

pub use two_tower_train::TwoTowerTrain;
