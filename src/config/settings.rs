//! The keys of a node that say how it is run, not what it computes.

use std::time::Duration;

use crate::config::expectation::Expectation;

/// How a node is run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// When its result is taken from the store.
    pub cache: CacheMode,
    /// How often it is tried again after a failure that may pass.
    pub retries: u32,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// What its output must be like for what depends on it to run.
    pub expect: Vec<Expectation>,
}

/// When the result of a node is taken from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// When nothing has changed that could change it.
    #[default]
    Auto,
    /// The same, and what it makes is stored even where it could stay a part of the plans of what reads it.
    Always,
    /// Never: the node runs each time.
    Never,
}
