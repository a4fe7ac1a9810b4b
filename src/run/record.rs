//! What a run leaves behind about itself.
//!
//! Version log:
//! - 1: the first.
//! - 2: commit, files, and per node configuration, code version, inputs, output, receipt, placement and keys.
//! - 3: per node what became of its expectations.
//!
//! A reader takes records of every version: fields that are not there have their defaults, fields that it does not know
//! are passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use towline_api::{Receipt, Report};

use crate::plan::ExpectationRecord;

/// Counts up when a field is added or its meaning changes.
pub const RECORD_VERSION: u32 = 3;

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

impl NodeStatus {
    /// The word for a person.
    pub fn word(self) -> &'static str {
        match self {
            NodeStatus::Ran => "ran",
            NodeStatus::Reused => "reused",
            NodeStatus::Fused => "fused",
            NodeStatus::Failed => "failed",
            NodeStatus::Skipped => "skipped",
        }
    }
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
    #[serde(with = "crate::store::metrics")]
    pub metrics: BTreeMap<String, f64>,
    /// What a person wants to see.
    pub report: Report,
    /// The operator's code version.
    #[serde(default)]
    pub code: u32,
    /// Its configuration by meaning: defaults filled in, secrets unread, without what cannot change the output.
    #[serde(default)]
    pub with: Value,
    /// Digests of what was connected, in order: by node, or by path for the files of a source.
    #[serde(default)]
    pub inputs: Vec<(String, String)>,
    /// Digest of the output: of its content, or of the steps that make it where it is never stored.
    #[serde(default)]
    pub output: Option<String>,
    /// What it published outside the store.
    #[serde(default)]
    pub receipt: Option<Receipt>,
    /// Where its output lives, in words.
    #[serde(default)]
    pub placement: String,
    /// The keys of the entries that it stands for.
    #[serde(default)]
    pub keys: Vec<String>,
    /// What became of its expectations, where they were checked.
    #[serde(default)]
    pub expectations: Vec<ExpectationRecord>,
}

impl NodeRecord {
    /// Whether it failed for nothing but its expectations.
    pub fn is_unmet(&self) -> bool {
        self.status == NodeStatus::Failed && self.expectations.iter().any(|record| !record.outcome.met)
    }
}

/// What happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RECORD_VERSION`] of what wrote it.
    pub version: u32,
    /// Later runs on a store have greater ids, whatever the clock says.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// Seconds since 1970, UTC.
    pub started: u64,
    /// From start to end, in seconds.
    pub seconds: f64,
    /// The most memory that the process held, in bytes, where the system says.
    pub peak_memory: Option<u64>,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// The git commit that the working folder was at, if it is in a repository.
    #[serde(default)]
    pub commit: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_first_version_and_of_one_to_come_are_read() {
        let node = r#""name":"a","operator":"Filter","status":"reused","reason":"","seconds":0.1,"rows":3,"metrics":{},"report":{}"#;
        let run = r#""id":"01","pipeline":"p","started":1,"seconds":0.2,"peak_memory":null,"interrupted":false"#;
        let first = format!(r#"{{"version":1,{run},"nodes":[{{{node}}}]}}"#);
        let record: RunRecord = serde_json::from_str(&first).unwrap();
        assert_eq!((record.count(NodeStatus::Reused), record.nodes[0].code), (1, 0));
        let next = format!(r#"{{"version":9,{run},"weather":"fine","nodes":[{{{node},"mood":[1]}}]}}"#);
        assert_eq!(serde_json::from_str::<RunRecord>(&next).unwrap().nodes[0].rows, Some(3));
    }
}
