//! The last line after a run: the command to look at next.

use std::path::Path;

use crate::run::{NodeRecord, NodeStatus, RunRecord};

/// The command to look at next after this run of the pipeline in `file`.
pub(super) fn after(record: &RunRecord, file: &Path) -> String {
    let file = file.display();
    let ended = |status: NodeStatus| record.nodes.iter().find(move |node| node.status == status);
    if record.interrupted {
        return format!("next: towline run {file} --resume");
    }
    if let Some(failed) = ended(NodeStatus::Failed) {
        // What does not meet its expectations is stored and can be looked at.
        return if failed.is_unmet() {
            format!("next: towline show {file} {}", quoted(&failed.name))
        } else {
            format!("next: towline plan {file}")
        };
    }
    match result(record) {
        Some(node) => format!("next: towline show {file} {}", quoted(&node.name)),
        None => format!("next: towline plan {file}"),
    }
}

/// The node whose result a person wants to see: one that measures, else the last that has a result.
fn result(record: &RunRecord) -> Option<&NodeRecord> {
    let done = |node: &&NodeRecord| matches!(node.status, NodeStatus::Ran | NodeStatus::Reused);
    let mut nodes = record.nodes.iter().filter(done);
    let measures = |node: &&NodeRecord| !node.metrics.is_empty() && node.receipt.is_none();
    nodes.clone().rfind(measures).or_else(|| nodes.next_back())
}

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    if name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', "'\\''"))
    }
}
