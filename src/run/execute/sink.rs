//! Sinks: what they publish lies outside the store.

use serde_json::json;
use towline_api::{Artifact, Inputs, Sink};

use crate::run::execute::{ExecContext, WorkOutput, task};
use crate::run::failure::Failure;
use crate::store::digest_json;
use crate::typing::GraphNode;

/// Publishes.
pub(in crate::run) fn publish(
    sink: &dyn Sink,
    inputs: &Inputs<Artifact>,
    context: &ExecContext<'_>,
) -> Result<WorkOutput, Failure> {
    task::work_output(sink.run(inputs, &task::operator_context(context))?)
}

/// Identifies the places that a sink writes to: the digest of its targets, or of its whole configuration if it names none.
pub(in crate::run) fn place(node: &GraphNode, sink: &dyn Sink) -> String {
    match sink.targets() {
        targets if targets.is_empty() => {
            digest_json(&json!({ "operator": node.descriptor.name, "with": node.built.cache_config }))
        }
        targets => digest_json(&json!({ "targets": targets })),
    }
}
