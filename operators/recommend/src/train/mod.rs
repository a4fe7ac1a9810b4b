//! Training of two-tower models.

pub(crate) mod checkpoint;
pub mod config;
pub(crate) mod data_scan;
#[cfg(all(test, feature = "torch"))]
pub(crate) mod dense_reference_tests;
pub(crate) mod losses;
pub(crate) mod network;
#[cfg(feature = "torch")]
pub(crate) mod torch;
pub(crate) mod train_backend;
pub(crate) mod training_loop;
pub(crate) mod training_run;
pub(crate) mod two_tower_train;
pub(crate) mod validation;

pub use two_tower_train::TwoTowerTrain;
