//! A pipeline whose nodes have types.

use towline_api::{Built, Descriptor, NodeType};

use crate::checks::Condition;
use crate::config::Pipeline;
use crate::config::yaml::Diagnostic;
use crate::typing::bind::Binding;
use crate::typing::node_id::NodeId;

/// Which rows a dataset has: datasets with equal origins hold columns of the same rows and can be joined by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOrigin {
    /// The node that made the rows.
    pub node: NodeId,
    /// The split that was selected, if one was.
    pub split: Option<String>,
}

/// A node with its operator and the type of its output.
#[derive(Clone)]
pub struct TypedNode {
    /// The descriptor of its operator.
    pub descriptor: Descriptor,
    /// The operator.
    pub built: Built,
    /// The references by port.
    pub bindings: Vec<Binding>,
    /// The type of the output.
    pub output: NodeType,
    /// Which rows the output has.
    pub rows: RowOrigin,
    /// Expectations on the output.
    pub expectations: Vec<CheckedExpectation>,
}

/// A type-checked expectation.
#[derive(Debug, Clone)]
pub struct CheckedExpectation {
    /// The condition.
    pub condition: Condition,
    /// The location: `file:line:column`.
    pub location: String,
}

/// A pipeline whose nodes have types; a node without one is in error, or reads from one that is.
pub struct TypedPipeline {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its nodes, by the same indices.
    pub nodes: Vec<Option<TypedNode>>,
    /// The diagnostics.
    pub diagnostics: Vec<Diagnostic>,
}
