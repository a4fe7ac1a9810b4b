//! A pipeline as the planner sees it: references resolved, chains expanded.

use std::collections::BTreeMap;
use std::sync::Arc;

use petgraph::graph::DiGraph;

use crate::config::settings::Settings;
use crate::config::yaml::{FileId, Span, Spanned, Value};

/// A pipeline, as far as its file could be read. Without errors its structure is sound: names exist, nothing goes in
/// circles, every interpolation is done. Beside errors it has what they left, so that the rest can be checked as well.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The name given in the file, else the file's own name without its extension.
    pub name: String,
    /// What the pipeline is for, in its author's words.
    pub description: Option<String>,
    /// What stands under `tests`, interpolated.
    pub tests: Option<Value>,
    /// The text of the pipeline, in the source map it was loaded with.
    pub file: FileId,
    /// The address of the shared store, as it is written, if one is named.
    pub store: Option<Spanned<String>>,
    /// The operators that have defaults, each where it is named.
    pub defaults: Vec<Spanned<String>>,
    /// Every node, in the order of the file; those that a chain makes stand before the one that takes its name.
    pub nodes: Vec<Node>,
    /// One graph node for each entry of `nodes`, at the same index and holding that index; an edge leads from a node
    /// to each node that needs it, for its data or by `after`.
    pub graph: DiGraph<usize, ()>,
    /// Indices of `nodes` such that each node follows all it needs; where that leaves a choice, in the order of the
    /// file. Nodes on and behind circles are left out.
    pub order: Vec<usize>,
    /// The environment variables that were looked up, and whether each was set.
    pub env_read: BTreeMap<String, bool>,
}

impl Pipeline {
    /// The index of the node of a name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }
}

/// One step of a pipeline.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name: the key in the file, or `<key>.<n>:<Operator>` for a step inside a chain.
    pub name: String,
    /// Where it is named: its key, or its place in the chain.
    pub span: Span,
    /// The name of its operator; nothing here knows which operators exist.
    pub op: Spanned<String>,
    /// What `with` holds, interpolated: always a mapping, at the place of the operator's name if nothing is written.
    pub config: Value,
    /// Where its data comes from.
    pub inputs: Connections,
    /// The nodes that must finish first although no data flows, each with the place where that is asked for.
    pub after: Vec<(usize, Span)>,
    /// How it is run.
    pub settings: Settings,
    /// What could not be read of it and has been reported: what is wrong because of that is no news.
    pub invalid: InvalidParts,
    /// Whether it is a step inside a chain, without a name of its own in the file.
    pub generated: bool,
    /// The text of the chain that it comes from, if it comes from one; all its nodes share it.
    pub chain_text: Option<Arc<str>>,
}

/// Which parts of a node could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InvalidParts {
    /// The name of its operator.
    pub op: bool,
    /// Its configuration, as a whole or in part.
    pub config: bool,
    /// What is connected to it, as a whole or in part.
    pub inputs: bool,
}

/// Where the data of a node comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Connections {
    /// Nowhere: the node is a source.
    None,
    /// From one node.
    One(Reference),
    /// From several nodes, by position.
    List(Vec<Reference>),
    /// From several nodes, by the name of the port.
    Named(Vec<(Spanned<String>, Reference)>),
}

impl Connections {
    /// Every reference, in the order of the file.
    pub fn references(&self) -> Vec<&Reference> {
        match self {
            Self::None => Vec::new(),
            Self::One(reference) => vec![reference],
            Self::List(references) => references.iter().collect(),
            Self::Named(named) => named.iter().map(|(_, reference)| reference).collect(),
        }
    }

    /// The same with each reference changed.
    #[must_use]
    pub(crate) fn map(&self, change: impl Fn(&Reference) -> Reference) -> Self {
        match self {
            Self::None => Self::None,
            Self::One(reference) => Self::One(change(reference)),
            Self::List(references) => Self::List(references.iter().map(change).collect()),
            Self::Named(named) => {
                let changed = |(port, reference): &(Spanned<String>, Reference)| (port.clone(), change(reference));
                Self::Named(named.iter().map(changed).collect())
            }
        }
    }
}

/// The output of a node, or a part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// The index of the node in [`Pipeline::nodes`].
    pub node: usize,
    /// The columns asked for, in order; all of them if absent.
    pub columns: Option<Vec<Selection>>,
    /// The split asked for; all of them if absent.
    pub split: Option<Spanned<String>>,
    /// Where the reference is written.
    pub span: Span,
}

/// One entry of a column selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// The column of this name.
    Column(Spanned<String>),
    /// Every column that carries this tag.
    Tag(Spanned<String>),
}
