//! Resolution of names in references, and the graph of nodes.

use std::collections::{HashMap, HashSet};

use petgraph::graph::{DiGraph, NodeIndex};
use towline_api::suggest;

use crate::config::cycle::{cycles, order};
use crate::config::model::{Connections, Node, Pipeline, Reference};
use crate::config::nodes::unresolved::{Target, UnresolvedInputs, UnresolvedNode, UnresolvedReference};
use crate::config::yaml::{Code, Diagnostic, MAX_HINTS, Mapping, Span, Spanned};

/// Maximum number of marked nodes of a cycle; all of them are named in the message.
const SHOWN: usize = 8;

/// The nodes and their graph; references that cannot be resolved are reported and left out.
pub(crate) struct ResolvedGraph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) graph: DiGraph<usize, ()>,
    pub(crate) order: Vec<usize>,
}

/// Resolves every name. `entries` is the mapping of the file: a node in it that could not be read at all is not unknown.
pub(crate) fn resolve(
    unresolved: Vec<UnresolvedNode>,
    entries: &Mapping,
    diagnostics: &mut Vec<Diagnostic>,
) -> ResolvedGraph {
    let mut resolver = Resolver {
        by_name: entries.keys().map(|name| (name.to_owned(), None)).collect(),
        entries,
        diagnostics,
    };
    for (at, unresolved) in unresolved.iter().enumerate() {
        if !unresolved.generated {
            resolver.by_name.insert(unresolved.name.clone(), Some(at));
        }
    }
    let nodes: Vec<Node> = unresolved
        .into_iter()
        .map(|unresolved| resolver.node(unresolved))
        .collect();
    let graph = graph(&nodes);
    report_cycles(&nodes, &graph, diagnostics);
    let order = order(&graph);
    ResolvedGraph { nodes, graph, order }
}

impl Pipeline {
    /// A pipeline like `like` of other nodes, which need only each other and in no cycle.
    pub(crate) fn of_nodes(like: &Pipeline, nodes: Vec<Node>) -> Pipeline {
        let graph = graph(&nodes);
        let order = order(&graph);
        Pipeline {
            name: like.name.clone(),
            description: None,
            tests: None,
            file: like.file,
            store: None,
            defaults: Vec::new(),
            nodes,
            graph,
            order,
            env_read: like.env_read.clone(),
        }
    }
}

struct Resolver<'a> {
    by_name: HashMap<String, Option<usize>>,
    entries: &'a Mapping,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn node(&mut self, unresolved: UnresolvedNode) -> Node {
        let mut invalid = unresolved.invalid;
        let mut resolved = |one: UnresolvedReference| {
            let reference = self.reference(one);
            invalid.inputs |= reference.is_none();
            reference
        };
        let inputs = match unresolved.inputs {
            UnresolvedInputs::None => Connections::None,
            UnresolvedInputs::One(one) => resolved(one).map_or(Connections::None, Connections::One),
            UnresolvedInputs::List(list) => Connections::List(list.into_iter().filter_map(resolved).collect()),
            UnresolvedInputs::Named(named) => {
                let resolved = |(port, one)| Some((port, resolved(one)?));
                Connections::Named(named.into_iter().filter_map(resolved).collect())
            }
        };
        let mut after: Vec<(usize, Span)> = Vec::new();
        let mut seen = HashSet::new();
        for name in &unresolved.after {
            if let Some(node) = self.find(name)
                && seen.insert(node)
            {
                after.push((node, name.span));
            }
        }
        Node {
            name: unresolved.name,
            span: unresolved.span,
            op: unresolved.op,
            config: unresolved.config,
            inputs,
            after,
            settings: unresolved.settings,
            invalid,
            generated: unresolved.generated,
            chain_text: unresolved.chain_text,
        }
    }

    fn reference(&mut self, unresolved: UnresolvedReference) -> Option<Reference> {
        let node = match &unresolved.target {
            Target::Generated(node) => *node,
            Target::Named(name) => self.find(name)?,
        };
        Some(Reference {
            node,
            columns: unresolved.columns,
            split: unresolved.split,
            span: unresolved.span,
        })
    }

    fn find(&mut self, name: &Spanned<String>) -> Option<usize> {
        if let Some(&found) = self.by_name.get(&name.value) {
            return found;
        }
        let message = format!("there is no node `{}`", name.value);
        let mut diagnostic = Diagnostic::error(Code::UnknownNode, message)
            .at(name.span)
            .label("unknown node");
        if self.diagnostics.len() < MAX_HINTS {
            let known: Vec<&str> = self.entries.keys().collect();
            diagnostic.help = Some(suggest::sentence(&name.value, &known, "nodes"));
        }
        self.diagnostics.push(diagnostic);
        None
    }
}

fn graph(nodes: &[Node]) -> DiGraph<usize, ()> {
    let mut graph = DiGraph::with_capacity(nodes.len(), nodes.len());
    for at in 0..nodes.len() {
        graph.add_node(at);
    }
    for (at, node) in nodes.iter().enumerate() {
        let data = node.inputs.references().into_iter().map(|reference| reference.node);
        let mut needed: Vec<usize> = data.chain(node.after.iter().map(|(other, _)| *other)).collect();
        needed.sort_unstable();
        needed.dedup();
        for other in needed {
            graph.add_edge(NodeIndex::new(other), NodeIndex::new(at), ());
        }
    }
    graph
}

fn report_cycles(nodes: &[Node], graph: &DiGraph<usize, ()>, diagnostics: &mut Vec<Diagnostic>) {
    for cycle in cycles(graph) {
        // Steps inside a chain have no name that a reader would look for; a cycle always passes a named node.
        let mut named: Vec<&Node> = cycle
            .iter()
            .map(|&at| &nodes[at])
            .filter(|node| !node.generated)
            .collect();
        let first = named
            .iter()
            .enumerate()
            .min_by_key(|(_, node)| node.span)
            .map_or(0, |(at, _)| at);
        named.rotate_left(first);
        let Some(&start) = named.first() else { continue };
        named.push(start);
        let path: Vec<&str> = named.iter().map(|node| node.name.as_str()).collect();
        let message = format!("nodes form a cycle: {}", path.join(" -> "));
        let mut diagnostic = Diagnostic::error(Code::Cycle, message)
            .at(start.span)
            .label("the cycle begins here");
        for node in named[1..named.len() - 1].iter().take(SHOWN) {
            diagnostic = diagnostic.related(node.span, "and passes here");
        }
        diagnostics.push(diagnostic.help("remove one of these connections"));
    }
}
