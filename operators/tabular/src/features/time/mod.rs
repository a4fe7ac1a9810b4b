//! Features of timestamps.

pub(crate) mod time_features;

pub use time_features::{TimeFeature, TimeFeatures};
