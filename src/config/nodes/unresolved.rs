//! Nodes as they are read from the file, before the names in their references are resolved.

use std::sync::Arc;

use crate::config::model::{InvalidParts, Selection};
use crate::config::settings::Settings;
use crate::config::yaml::{Key, Span, Spanned, Value};

/// A node whose references are still names.
#[derive(Debug)]
pub(crate) struct UnresolvedNode {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) op: Spanned<String>,
    pub(crate) config: Value,
    pub(crate) inputs: UnresolvedInputs,
    pub(crate) after: Vec<Spanned<String>>,
    pub(crate) settings: Settings,
    pub(crate) invalid: InvalidParts,
    pub(crate) generated: bool,
    pub(crate) chain_text: Option<Arc<str>>,
}

/// The inputs of a unresolved, in the forms of [`Connections`](crate::config::Connections).
#[derive(Debug, Clone)]
pub(crate) enum UnresolvedInputs {
    None,
    One(UnresolvedReference),
    List(Vec<UnresolvedReference>),
    Named(Vec<(Key, UnresolvedReference)>),
}

impl UnresolvedInputs {
    /// The references, in order.
    pub(crate) fn references(&self) -> Vec<&UnresolvedReference> {
        match self {
            UnresolvedInputs::None => Vec::new(),
            UnresolvedInputs::One(reference) => vec![reference],
            UnresolvedInputs::List(list) => list.iter().collect(),
            UnresolvedInputs::Named(named) => named.iter().map(|(_, reference)| reference).collect(),
        }
    }

    /// The references, in order, to be changed.
    pub(crate) fn references_mut(&mut self) -> Vec<&mut UnresolvedReference> {
        match self {
            UnresolvedInputs::None => Vec::new(),
            UnresolvedInputs::One(reference) => vec![reference],
            UnresolvedInputs::List(list) => list.iter_mut().collect(),
            UnresolvedInputs::Named(named) => named.iter_mut().map(|(_, reference)| reference).collect(),
        }
    }
}

/// A reference to a node that may not exist.
#[derive(Debug, Clone)]
pub(crate) struct UnresolvedReference {
    pub(crate) target: Target,
    pub(crate) columns: Option<Vec<Selection>>,
    pub(crate) split: Option<Spanned<String>>,
    pub(crate) span: Span,
}

/// What a reference leads to.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// The node of this name, if there is one.
    Named(Spanned<String>),
    /// The unresolved at this position, made by the chain itself.
    Generated(usize),
}
