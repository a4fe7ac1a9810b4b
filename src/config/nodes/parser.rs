//! The state of the parser of nodes, and what all its parts share.

use std::sync::Arc;

use crate::config::chain_operators::ChainOperators;
use crate::config::defaults::Defaults;
use crate::config::interpolation::interpolate::Interpolator;
use crate::config::key_errors::{deprecated_name, wrong_type};
use crate::config::nodes::unresolved::UnresolvedNode;
use crate::config::yaml::{Code, Diagnostic, Key, Mapping, Value};

/// The parser of nodes.
pub(crate) struct NodeParser<'a> {
    pub(crate) interpolator: Interpolator<'a>,
    pub(crate) operators: ChainOperators<'a>,
    pub(crate) defaults: Defaults,
    pub(crate) unresolved: Vec<UnresolvedNode>,
}

/// The entry of `nodes` that is being parsed.
pub(crate) struct EntryContext<'k> {
    pub(crate) key: &'k Key,
    /// The number of nodes that its chains and sweep have generated so far.
    pub(crate) generated_count: usize,
    /// Whether its text is the value of a variable, in which interpolation is done already.
    pub(crate) resolved: bool,
    /// The text of the chain that is being expanded.
    pub(crate) chain: Arc<str>,
}

impl NodeParser<'_> {
    /// The result of `read`, and whether it met an error.
    pub(crate) fn track_errors<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, bool) {
        let before = self.interpolator.error_count();
        let result = read(self);
        (result, self.interpolator.error_count() > before)
    }

    /// The value with every interpolation done, unless it was done before.
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

    /// The mapping with deprecated names of keys replaced by the present ones, and a warning for each.
    pub(crate) fn with_present_names(&mut self, mapping: &Mapping, deprecated: &[(&str, &str)]) -> Mapping {
        let mut renamed = Mapping::default();
        for (key, value) in &mapping.entries {
            let mut key = key.clone();
            if let Some((old, present)) = deprecated.iter().find(|(old, _)| *old == key.value) {
                self.report(deprecated_name(&key, present));
                if let Some((other, _)) = mapping.entry(present) {
                    let message = format!("`{old}` is the deprecated name of `{present}`, which is given too");
                    let diagnostic = Diagnostic::error(Code::Conflict, message).at(key.span);
                    self.report(diagnostic.label("remove this").related(other.span, "the present name"));
                    continue;
                }
                (*present).clone_into(&mut key.value);
            }
            renamed.entries.push((key, value.clone()));
        }
        renamed
    }
}
