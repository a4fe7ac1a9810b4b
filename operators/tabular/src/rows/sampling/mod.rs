//! Operators that sample or divide rows: splits, samples, negatives, k-core.

pub(crate) mod k_core;
pub(crate) mod negative_draws;
pub(crate) mod negative_sample;
pub(crate) mod random_rows;
pub(crate) mod sample;
pub(crate) mod split;
pub(crate) mod split_hash;

pub use k_core::KCore;
pub use negative_sample::{Likelihood, NegativeSample};
pub use sample::Sample;
pub use split::{LeaveLast, Split, TimeSplit};
