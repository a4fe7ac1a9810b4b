//! How a pipeline is run.

use towline_api::Cancel;

use crate::run::progress::Progress;

/// How to run.
#[derive(Clone)]
pub struct RunOptions {
    /// How many nodes may run at once.
    pub jobs: usize,
    /// How many threads a node may use.
    pub threads: usize,
    /// Stops the run.
    pub cancel: Cancel,
    /// Shows the run.
    pub progress: Progress,
    /// Whether what depends on a node stays undone if the node's expectations do not hold.
    pub stop_at_unmet: bool,
    /// Which nodes run.
    pub choices: Choices,
    /// Whether unfinished work that an earlier run left behind is taken up where it can be.
    pub resume: bool,
    /// Whether everything is made twice, and different bytes are a failure.
    pub verify_determinism: bool,
}

/// What was asked for on the command line, by node. A node that is not mentioned runs if it has changed.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Why a node is left out, in words, for those that are.
    pub left_out: std::collections::BTreeMap<usize, String>,
    /// Why a node does not take its result from the store, in words, for those that don't.
    pub fresh: std::collections::BTreeMap<usize, String>,
}
