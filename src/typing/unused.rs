//! Unused nodes.

use towline_api::{Kind, Purity};

use crate::config::Pipeline;
use crate::config::yaml::{Code, Diagnostic};
use crate::typing::typed_pipeline::TypedNode;

/// A warning for each node that nothing reads or waits for, and that neither publishes nor measures nor is expected to be anything. A pipeline without
/// any sink or metric is one whose last nodes are looked at: nothing in it is unused.
pub(crate) fn find(pipeline: &Pipeline, nodes: &[Option<TypedNode>]) -> Vec<Diagnostic> {
    let is_end = |node: &TypedNode| {
        node.descriptor.purity == Purity::Effect
            || matches!(node.output.kind(), Kind::Metrics | Kind::Receipt)
            || !node.expectations.is_empty()
    };
    if !nodes.iter().flatten().any(is_end) {
        return Vec::new();
    }
    let mut used = vec![false; nodes.len()];
    for node in &pipeline.nodes {
        // Where an input could not be read, it may be any node.
        if node.invalid.inputs || node.invalid.op {
            return Vec::new();
        }
        let read = node.inputs.references().into_iter().map(|reference| reference.node);
        for needed in read.chain(node.after.iter().map(|(index, _)| *index)) {
            used[needed] = true;
        }
    }
    let unused = nodes.iter().enumerate().filter(|(index, _)| !used[*index]);
    unused
        .filter_map(|(index, node)| Some((index, node.as_ref()?)))
        .filter(|(_, node)| !is_end(node))
        .map(|(index, _)| {
            let node = &pipeline.nodes[index];
            let message = format!("nothing uses the node `{}`", node.name);
            Diagnostic::warning(Code::UnusedNode, message)
                .at(node.span)
                .help("connect it, or delete it")
        })
        .collect()
}
