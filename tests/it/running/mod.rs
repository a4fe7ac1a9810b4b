//! Runs: what runs again, failures, interruption.

pub(crate) mod engine;
pub(crate) mod interruption;
pub(crate) mod node_work;
pub(crate) mod pipelines;
pub(crate) mod reruns;
pub(crate) mod sweep;
