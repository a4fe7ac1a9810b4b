//! Options of publishing.

use crate::batch::key_pattern::KeyPattern;
use crate::redis::config::settings::{Gates, Publish, StaleKeys};

/// Options of publishing.
#[derive(Debug, Clone)]
pub(crate) struct PublishOptions {
    /// Pattern of the keys, as configured.
    pub(crate) key: String,
    pub(crate) pattern: KeyPattern,
    pub(crate) publish: Publish,
    pub(crate) stale: StaleKeys,
    /// Number of earlier generations to keep.
    pub(crate) keep: u64,
    pub(crate) gates: Gates,
    /// Keys per pipeline.
    pub(crate) chunk: usize,
    /// Concurrent pipelines.
    pub(crate) in_flight: usize,
    /// Maximum number of keys per second.
    pub(crate) rate_limit: Option<u64>,
    /// Whether an empty generation may replace a published one.
    pub(crate) allow_empty: bool,
}
