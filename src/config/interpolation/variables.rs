//! The variables of a pipeline: interpolated in the order of the file, each with those above it.

use std::collections::HashSet;

use petgraph::graph::{DiGraph, NodeIndex};

use crate::config::cycle::cycles;
use crate::config::interpolation::interpolate::{Interpolator, Variable, references};
use crate::config::names::{bad_name, is_name};
use crate::config::yaml::{Code, Diagnostic, Mapping, Value, ValueKind};

/// Resolves every variable and hands it to the interpolator; returns the warnings about those that nothing uses.
pub(crate) fn resolve(interpolator: &mut Interpolator<'_>, vars: &Value, root: &Mapping) -> Vec<Diagnostic> {
    let mapping = match &vars.kind {
        ValueKind::Mapping(mapping) => mapping,
        ValueKind::Null => return Vec::new(),
        _ => {
            let message = format!("`vars` must be a mapping, not {}", vars.kind_name());
            interpolator
                .diagnostics
                .push(Diagnostic::error(Code::WrongType, message).at(vars.span));
            return Vec::new();
        }
    };
    let used: Vec<HashSet<String>> = mapping
        .entries
        .iter()
        .map(|(_, value)| {
            let mut found = HashSet::new();
            references(value, &mut found);
            found
        })
        .collect();
    let circular = find_cycles(interpolator, mapping, &used);
    for (key, _) in &mapping.entries {
        interpolator.variables.insert(key.value.clone(), Variable::Later);
    }
    for (at, (key, value)) in mapping.entries.iter().enumerate() {
        let named = is_name(&key.value);
        if !named {
            interpolator.diagnostics.push(bad_name("variable", key));
        }
        let resolved = if named && !circular.contains(&at) {
            interpolator.whole(value)
        } else {
            None
        };
        // A variable that is invalid in part must not be used as if it were valid.
        let state = resolved.map_or(Variable::Failed, Variable::Ready);
        interpolator.variables.insert(key.value.clone(), state);
    }
    unused(mapping, used, root)
}

/// Reports each cycle once; returns the positions of all variables on cycles.
fn find_cycles(interpolator: &mut Interpolator<'_>, mapping: &Mapping, used: &[HashSet<String>]) -> HashSet<usize> {
    let mut graph: DiGraph<usize, ()> = DiGraph::new();
    let mut by_name = std::collections::HashMap::new();
    for (at, (key, _)) in mapping.entries.iter().enumerate() {
        by_name.insert(key.value.as_str(), graph.add_node(at));
    }
    for (at, names) in used.iter().enumerate() {
        for name in names {
            if let Some(&needed) = by_name.get(name.as_str()) {
                graph.add_edge(NodeIndex::new(at), needed, ());
            }
        }
    }
    let mut circular = HashSet::new();
    for cycle in cycles(&graph) {
        let mut names: Vec<String> = cycle
            .iter()
            .map(|&at| format!("vars.{}", mapping.entries[at].0.value))
            .collect();
        names.extend(names.first().cloned());
        let message = format!("variables form a cycle: {}", names.join(" -> "));
        let span = mapping.entries[cycle[0]].0.span;
        interpolator
            .diagnostics
            .push(Diagnostic::error(Code::Cycle, message).at(span));
        circular.extend(cycle);
    }
    circular
}

fn unused(mapping: &Mapping, used: Vec<HashSet<String>>, root: &Mapping) -> Vec<Diagnostic> {
    let mut all: HashSet<String> = used.into_iter().flatten().collect();
    for (_, section) in root.entries.iter().filter(|(key, _)| key.value != "vars") {
        references(section, &mut all);
    }
    mapping
        .entries
        .iter()
        .filter(|(key, _)| !all.contains(&key.value))
        .map(|(key, _)| {
            Diagnostic::warning(
                Code::UnusedVariable,
                format!("the variable `{}` is never used", key.value),
            )
            .at(key.span)
            .help("remove it, or use it as `${vars.NAME}`".replace("NAME", &key.value))
        })
        .collect()
}
