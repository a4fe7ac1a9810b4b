//! What a run leaves behind about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use towline_operators::contract::{Receipt, Report};

/// Counts up when the meaning of a field changes.
pub(super) const RECORD_VERSION: u32 = 1;

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// It ran.
    Ran,
    /// Everything it has to give was in the store.
    Reused,
    /// It has no work of its own: it is a part of the plans of what reads it.
    Fused,
    /// It failed.
    Failed,
    /// Something that it needs failed, or the run was interrupted.
    Skipped,
}

/// What happened to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// How it ended.
    pub status: NodeStatus,
    /// Why it ran, was skipped, or failed.
    pub reason: String,
    /// From start to end, in seconds.
    pub seconds: f64,
    /// Rows of its output, where they were counted.
    pub rows: Option<u64>,
    /// Its metrics.
    pub metrics: BTreeMap<String, f64>,
    /// What a person wants to see.
    pub report: Report,
    /// What it did outside the store.
    #[serde(default)]
    pub receipt: Option<Receipt>,
}

/// What happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Sorts by time.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// Seconds since 1970, UTC.
    pub started: u64,
    /// From start to end, in seconds.
    pub seconds: f64,
    /// The most memory that the process held, in bytes, where the system says.
    pub peak_memory: Option<u64>,
    /// Whether somebody interrupted it.
    pub interrupted: bool,
    /// The nodes, in the order of the file.
    pub nodes: Vec<NodeRecord>,
}

impl RunRecord {
    /// How many nodes ended so.
    pub fn count(&self, status: NodeStatus) -> usize {
        self.nodes.iter().filter(|node| node.status == status).count()
    }
}

/// The high-water mark of this process's resident memory, in bytes.
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}
