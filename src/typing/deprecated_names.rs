//! Parameters that are written under deprecated names.

use towline_api::{DeprecatedKey, PathSegment, Registry};

use crate::config::yaml::{Diagnostic, Key, Mapping, Value, ValueKind};
use crate::config::{Node, Pipeline, deprecated_name};

/// Replaces deprecated names of parameters in the configurations of all nodes, which keep the spans of the keys; returns a
/// warning for each key.
pub(crate) fn replace(pipeline: &mut Pipeline, registry: &Registry) -> Vec<Diagnostic> {
    let mut warnings: Vec<Diagnostic> = Vec::new();
    for node in &mut pipeline.nodes {
        let Some(descriptor) = registry
            .get(&node.op.value)
            .filter(|found| found.has_deprecated_names())
        else {
            continue;
        };
        for key in descriptor.rename_deprecated(&mut node.config.to_json()) {
            if let Some(warning) = replace_key(node, &key)
                // A key in `defaults` or in a sweep belongs to several nodes.
                && !warnings.contains(&warning)
            {
                warnings.push(warning);
            }
        }
    }
    warnings
}

fn replace_key(node: &mut Node, key: &DeprecatedKey) -> Option<Diagnostic> {
    let own = node.config.span;
    let parents = &key.path[..key.path.len() - 1];
    let mapping = mapping_at(&mut node.config, parents)?;
    let position = |name: &str| mapping.entries.iter().position(|(key, _)| key.value == name);
    let deprecated = position(&key.deprecated)?;
    let warning = deprecated_name(&mapping.entries[deprecated].0, &key.present);
    match position(&key.present) {
        None => mapping.entries[deprecated].0.value.clone_from(&key.present),
        // What the node says counts, and not the default of its operator.
        Some(present) => {
            let is_own = |at: usize| contains(own, &mapping.entries[at].0);
            match (is_own(deprecated), is_own(present)) {
                (true, false) => {
                    mapping.entries[deprecated].0.value.clone_from(&key.present);
                    mapping.entries.remove(present);
                }
                (false, true) => {
                    mapping.entries.remove(deprecated);
                }
                // Building the operator reports the conflict.
                _ => return None,
            }
        }
    }
    Some(warning)
}

fn contains(span: crate::config::yaml::Span, key: &Key) -> bool {
    key.span.file == span.file && span.start <= key.span.start && key.span.end <= span.end
}

fn mapping_at<'v>(value: &'v mut Value, path: &[PathSegment]) -> Option<&'v mut Mapping> {
    let Some((first, rest)) = path.split_first() else {
        return match &mut value.kind {
            ValueKind::Mapping(mapping) => Some(mapping),
            _ => None,
        };
    };
    let inner = match (first, &mut value.kind) {
        (PathSegment::Key(key), ValueKind::Mapping(mapping)) => {
            let mut entries = mapping.entries.iter_mut();
            entries.find(|(found, _)| found.value == *key).map(|(_, value)| value)
        }
        (PathSegment::Index(index), ValueKind::Sequence(items)) => items.get_mut(*index),
        _ => None,
    };
    mapping_at(inner?, rest)
}
