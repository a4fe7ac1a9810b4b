//! Sinks: tasks with an effect outside the store.

use serde_json::json;
use towline_api::{Artifact, Inputs, Purity, Receipt, Task};

use crate::run::execute::{ExecContext, WorkOutput, task};
use crate::run::failure::Failure;
use crate::store::digest_json;
use crate::typing::GraphNode;

/// Whether a node is a sink.
pub(in crate::run) fn is_sink(node: &GraphNode) -> bool {
    node.descriptor.purity == Purity::Effect
}

/// Publishes.
pub(in crate::run) fn publish(
    sink: &dyn Task,
    inputs: &Inputs<Artifact>,
    context: &ExecContext<'_>,
) -> Result<WorkOutput, Failure> {
    task::run(sink, inputs, context)
}

/// Identifies the places that a sink writes to: the digest of its targets, or of its whole configuration if it names none.
pub(in crate::run) fn place(node: &GraphNode) -> String {
    match node.built.operator.targets() {
        targets if targets.is_empty() => {
            digest_json(&json!({ "operator": node.descriptor.name, "with": node.built.cache_config }))
        }
        targets => digest_json(&json!({ "targets": targets })),
    }
}

/// Whether what a sink published is still there, as far as can be told cheaply.
pub(in crate::run) fn still_published(node: &GraphNode, receipt: &Receipt) -> bool {
    node.built.operator.still_published(receipt)
}
