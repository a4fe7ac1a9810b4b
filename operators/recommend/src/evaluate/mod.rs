//! Evaluation: ranking metrics over the full catalogue, and comparisons.

pub(crate) mod averaging_unit;
pub(crate) mod bootstrap;
pub(crate) mod compare_metrics;
pub(crate) mod evaluate;
pub(crate) mod evaluation;
pub(crate) mod metrics;
pub(crate) mod ranked_lists;

pub use averaging_unit::Per;
pub use compare_metrics::CompareMetrics;
pub use evaluate::Evaluate;
