//! What a person wants to know after a run: what each node has to say, where the outputs are, and how it went.

use towline_api::Report;

use crate::cli::tables;
use crate::plan::{ExpectationRecord, grouped};
use crate::run::{NodeRecord, NodeStatus, RunRecord};

/// The summary of a run.
pub(super) fn of(record: &RunRecord) -> String {
    let mut out = String::new();
    for node in record.nodes.iter().filter(|node| node.report != Report::default()) {
        out.push_str(&told(node));
    }
    out.push_str(&outputs(record));
    for node in record.nodes.iter().filter(|node| node.status == NodeStatus::Failed) {
        out.push_str(&format!(
            "\n{} ({}) failed: {}\n",
            node.name, node.operator, node.reason
        ));
        for expectation in node.expectations.iter().filter(|e| !e.outcome.met) {
            out.push_str(&unmet(expectation));
        }
    }
    out.push_str(&close(record));
    out
}

fn told(node: &NodeRecord) -> String {
    let facts: Vec<String> = node
        .report
        .facts
        .iter()
        .map(|(name, value)| format!("{name} {}", value.parse().map_or_else(|_| value.clone(), grouped)))
        .collect();
    let mut out = format!("\n{} ({}): {}\n", node.name, node.operator, facts.join(", "));
    out.push_str(&tables::of_report(&node.report));
    out
}

/// An expectation that does not hold: where it stands, and the values of its parts.
fn unmet(expectation: &ExpectationRecord) -> String {
    let mut out = format!("  {}: {}\n", expectation.location, expectation.expression);
    for part in &expectation.outcome.parts {
        out.push_str(&format!("    {} = {}\n", part.text, part.value));
    }
    out
}

fn outputs(record: &RunRecord) -> String {
    let rows: Vec<Vec<String>> = record
        .nodes
        .iter()
        .filter_map(|node| {
            let receipt = node.receipt.as_ref()?;
            let records = grouped(receipt.records);
            Some(vec![node.name.clone(), records, receipt.target.clone()])
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\noutputs\n{}", tables::table(&["node", "records", "where"], rows))
}

fn close(record: &RunRecord) -> String {
    let counts = [
        NodeStatus::Ran,
        NodeStatus::Reused,
        NodeStatus::Fused,
        NodeStatus::Failed,
        NodeStatus::Skipped,
    ];
    let counts: Vec<String> = counts
        .iter()
        .map(|status| format!("{} {}", record.count(*status), status.word()))
        .collect();
    let expectations: Vec<_> = record.nodes.iter().flat_map(|node| &node.expectations).collect();
    let held = match (
        expectations.iter().filter(|e| e.outcome.met).count(),
        expectations.len(),
    ) {
        (_, 0) => String::new(),
        (held, of) => format!(", {held} of {of} expectations hold"),
    };
    let memory = record
        .peak_memory
        .map_or_else(String::new, |bytes| format!(", {} MB peak", bytes / 1_000_000));
    let time = tables::seconds(record.seconds);
    let counts = counts.join(", ");
    format!("\n{}: {counts}{held} in {time}{memory}\n", record.pipeline)
}
