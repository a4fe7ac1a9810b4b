//! Retrieval: training a two-tower model, and everything that is done with one.
//!
//! Only training (and the TorchScript part of an export) needs libtorch. Encoding, scoring and evaluation compute the
//! towers in plain Rust, so their results are the same on every machine and with any number of threads.

// What only training uses (writing weights, collecting a catalogue) stands beside what reads it.
#![cfg_attr(not(feature = "torch"), allow(dead_code))]

mod catalogue;
mod columns;
mod encode;
mod evaluate;
mod evaluation;
mod ids;
#[cfg(feature = "torch")]
mod loss;
mod metrics;
mod model;
mod model_export;
#[cfg(feature = "torch")]
mod sampling;
mod scoring;
mod seen;
mod sides;
mod top_k_encode;
#[cfg(feature = "torch")]
mod torch_towers;
mod towers;
#[cfg(feature = "torch")]
mod training;
#[cfg(feature = "torch")]
mod two_tower_train;
mod users;

#[cfg(all(test, feature = "torch"))]
mod fixture;
#[cfg(all(test, feature = "torch"))]
mod tests;

pub use encode::{Encode, Side};
pub use evaluate::{Evaluate, Per};
pub use model_export::ModelExport;
pub use top_k_encode::TopKEncode;
pub use towers::Normalize;
#[cfg(feature = "torch")]
pub use two_tower_train::{Optimizer, TwoTowerTrain};
