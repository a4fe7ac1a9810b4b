//! The state of the parser of nodes, and what all its parts share.

use std::sync::Arc;

use crate::config::chain_operators::ChainOperators;
use crate::config::defaults::Defaults;
use crate::config::interpolation::interpolate::Interpolator;
use crate::config::key_errors::wrong_type;
use crate::config::nodes::unresolved::UnresolvedNode;
use crate::config::yaml::{Diagnostic, Key, Value};

/// What unresolved are made with.
pub(crate) struct NodeParser<'a> {
    pub(crate) interpolator: Interpolator<'a>,
    pub(crate) operators: ChainOperators<'a>,
    pub(crate) defaults: Defaults,
    pub(crate) unresolved: Vec<UnresolvedNode>,
}

/// The node in whose entry a chain stands.
pub(crate) struct EntryContext<'k> {
    pub(crate) key: &'k Key,
    /// How many nodes its chains have made so far.
    pub(crate) generated_count: usize,
    /// Whether its text comes out of a variable, so that everything in it is resolved already.
    pub(crate) resolved: bool,
    /// The chain that is being expanded.
    pub(crate) chain: Arc<str>,
}

impl NodeParser<'_> {
    /// What `read` reads, and whether anything of it could not be read.
    pub(crate) fn track_errors<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, bool) {
        let before = self.interpolator.error_count();
        let result = read(self);
        (result, self.interpolator.error_count() > before)
    }

    /// The value with every interpolation done, unless that happened before.
    pub(crate) fn interpolate(&mut self, value: &Value, entry_context: &EntryContext<'_>) -> Option<Value> {
        if entry_context.resolved {
            Some(value.clone())
        } else {
            self.interpolator.value(value)
        }
    }

    pub(crate) fn wrong_type(&mut self, expected: &str, found: &Value) {
        self.report(wrong_type(expected, found));
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.interpolator.diagnostics.push(diagnostic);
    }
}
