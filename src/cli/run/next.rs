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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A run with nodes that ended so, each by name, status and metrics.
    fn record(nodes: &[(&str, &str, serde_json::Value)]) -> RunRecord {
        let node = |(name, status, metrics): &(&str, &str, serde_json::Value)| {
            json!({
                "name": name, "operator": "Any", "status": status, "reason": "", "seconds": 0.0, "rows": null,
                "metrics": metrics, "report": {},
            })
        };
        let nodes: Vec<_> = nodes.iter().map(node).collect();
        let record = json!({
            "version": 3, "id": "1", "pipeline": "p", "started": 0, "seconds": 0.0, "peak_memory": null,
            "interrupted": false, "nodes": nodes,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_run_points_to_what_measures_or_to_its_last_result() {
        let after = |nodes: &[(&str, &str, serde_json::Value)]| after(&record(nodes), Path::new("p.yaml"));
        let rows = ("rows", "ran", json!({}));
        let quality = ("quality", "reused", json!({ "recall": 0.5 }));
        let odd = ("the lists", "ran", json!({}));
        assert_eq!(
            after(&[rows.clone(), quality, odd.clone()]),
            "next: towline show p.yaml quality"
        );
        assert_eq!(after(&[rows.clone(), odd]), "next: towline show p.yaml 'the lists'");
        assert_eq!(after(&[("rows", "failed", json!({}))]), "next: towline plan p.yaml");
    }

    #[test]
    fn an_interrupted_run_points_to_its_continuation() {
        let mut stopped = record(&[("rows", "skipped", json!({}))]);
        stopped.interrupted = true;
        assert_eq!(
            after(&stopped, Path::new("p.yaml")),
            "next: towline run p.yaml --resume"
        );
    }
}
