//! Nodes that write the same target.

use std::collections::BTreeMap;

use towline_api::Form;

use crate::config::Pipeline;
use crate::config::yaml::{Code, Diagnostic};
use crate::typing::typed_pipeline::TypedNode;

/// An error for each node that writes what an earlier one of the file writes.
pub(crate) fn find(pipeline: &Pipeline, nodes: &[Option<TypedNode>]) -> Vec<Diagnostic> {
    let mut writers: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let Some(typed) = node else { continue };
        let Form::Sink(sink) = typed.built.operator.form() else {
            continue;
        };
        let mut reported = false;
        for target in sink.targets() {
            if let Some(&first) = writers.get(&target) {
                // Two nodes may meet in several places, of which one is enough to be reported.
                if std::mem::replace(&mut reported, true) {
                    continue;
                }
                let (first, node) = (&pipeline.nodes[first], &pipeline.nodes[index]);
                let message = format!("the nodes `{}` and `{}` both write {target}", first.name, node.name);
                found.push(
                    Diagnostic::error(Code::SameTarget, message)
                        .at(node.span)
                        .label("writes it as well")
                        .related(first.span, "writes it first")
                        .help("give each node a target of its own"),
                );
            } else {
                writers.insert(target, index);
            }
        }
    }
    found
}
