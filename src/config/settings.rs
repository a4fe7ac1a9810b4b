//! The settings of a node: how it is run, not what it computes.

use std::time::Duration;

use crate::config::expectation::Expectation;

/// Execution settings of a node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// The cache mode.
    pub cache: CacheMode,
    /// The number of retries after a transient failure.
    pub retries: u32,
    /// The timeout of one attempt.
    pub timeout: Option<Duration>,
    /// Expectations on the output; if one fails, no dependent node runs.
    pub expect: Vec<Expectation>,
}

/// The cache mode of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// Reuse the stored result while the fingerprint is unchanged.
    #[default]
    Auto,
    /// As `Auto`, and store the result even where the node could be fused into the nodes that read it.
    Always,
    /// Run the node each time.
    Never,
}
