//! Raw nodes to a graph: names resolve, cycles are told with their path.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use towline_operators::contract::suggest;

use crate::document::Diagnostic;

use super::chain::Term;
use super::nodes::{RawInputs, RawNode};
use super::{Connections, Names, Node, Pipeline, Reference, Spanned};

pub(super) fn build(
    name: String,
    description: Option<String>,
    raw: Vec<RawNode>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Pipeline> {
    let names: Names = raw
        .iter()
        .enumerate()
        .map(|(index, node)| (node.name.clone(), index))
        .collect();
    let mut resolver = Resolver {
        names: &names,
        diagnostics,
    };
    let nodes: Vec<Node> = raw.into_iter().map(|node| resolver.node(node)).collect();
    let mut graph = DiGraph::new();
    for index in 0..nodes.len() {
        graph.add_node(index);
    }
    for (index, node) in nodes.iter().enumerate() {
        let needed = node
            .inputs
            .references()
            .into_iter()
            .map(|reference| reference.node)
            .chain(node.after.iter().copied());
        for from in needed.filter(|&from| from != usize::MAX) {
            graph.update_edge(NodeIndex::new(from), NodeIndex::new(index), ());
        }
    }
    let cycles = cycles(&graph, &nodes);
    if !cycles.is_empty() {
        diagnostics.extend(cycles);
        return None;
    }
    let order = order(&graph);
    Some(Pipeline {
        name,
        description,
        nodes,
        graph,
        order,
    })
}

struct Resolver<'a> {
    names: &'a Names,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn node(&mut self, raw: RawNode) -> Node {
        let inputs = match raw.inputs {
            RawInputs::None => Connections::None,
            RawInputs::One(term) => Connections::One(self.reference(term)),
            RawInputs::List(terms) => Connections::List(terms.into_iter().map(|term| self.reference(term)).collect()),
            RawInputs::Named(named) => Connections::Named(
                named
                    .into_iter()
                    .map(|(name, term)| (name, self.reference(term)))
                    .collect(),
            ),
        };
        let after = raw.after.iter().map(|name| self.find(name)).collect();
        let RawNode {
            name,
            span,
            op,
            config,
            cache,
            generated,
            ..
        } = raw;
        Node {
            name,
            span,
            op,
            config,
            inputs,
            after,
            cache,
            generated,
        }
    }

    fn reference(&mut self, term: Term) -> Reference {
        let node = self.find(&term.node);
        Reference {
            node,
            columns: term.columns,
            split: term.split,
            span: term.span,
        }
    }

    /// The index of a name; `usize::MAX` after an error, which keeps the pipeline from being built.
    fn find(&mut self, name: &Spanned<String>) -> usize {
        if let Some(&index) = self.names.get(&name.value) {
            return index;
        }
        let known: Vec<&str> = self
            .names
            .keys()
            .map(String::as_str)
            .filter(|name| !name.contains(':'))
            .collect();
        let help = suggest::sentence(&name.value, &known, "nodes");
        let message = format!("there is no node `{}`", name.value);
        self.diagnostics
            .push(Diagnostic::error("unknown-node", name.span, message).help(help));
        usize::MAX
    }
}

fn cycles(graph: &DiGraph<usize, ()>, nodes: &[Node]) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    for component in tarjan_scc(graph) {
        let Some(&first) = component.iter().min() else { continue };
        if component.len() == 1 && graph.find_edge(first, first).is_none() {
            continue;
        }
        let path = walk(graph, &component, first);
        let names: Vec<&str> = path.iter().map(|index| nodes[index.index()].name.as_str()).collect();
        let message = format!("these nodes need each other: {}", names.join(" -> "));
        out.push(
            Diagnostic::error("cycle", nodes[first.index()].span, message)
                .help("data flows one way: take one of these connections out"),
        );
    }
    out
}

/// The shortest way from `first` back to itself inside a strongly connected component.
fn walk(graph: &DiGraph<usize, ()>, component: &[NodeIndex], first: NodeIndex) -> Vec<NodeIndex> {
    let mut paths = std::collections::VecDeque::from([vec![first]]);
    let mut seen = std::collections::BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        let Some(&end) = path.last() else { continue };
        let mut next: Vec<NodeIndex> = graph.neighbors_directed(end, Direction::Outgoing).collect();
        next.sort();
        for step in next.into_iter().filter(|step| component.contains(step)) {
            let mut longer = path.clone();
            longer.push(step);
            if step == first {
                return longer;
            }
            if seen.insert(step) {
                paths.push_back(longer);
            }
        }
    }
    vec![first]
}

/// Kahn's order, the earliest in the file first.
fn order(graph: &DiGraph<usize, ()>) -> Vec<usize> {
    let mut waiting: Vec<usize> = graph
        .node_indices()
        .map(|index| graph.edges_directed(index, Direction::Incoming).count())
        .collect();
    let mut ready: BinaryHeap<Reverse<usize>> = waiting
        .iter()
        .enumerate()
        .filter(|&(_, &count)| count == 0)
        .map(|(index, _)| Reverse(index))
        .collect();
    let mut out = Vec::with_capacity(waiting.len());
    while let Some(Reverse(index)) = ready.pop() {
        out.push(index);
        for next in graph.neighbors_directed(NodeIndex::new(index), Direction::Outgoing) {
            waiting[next.index()] -= 1;
            if waiting[next.index()] == 0 {
                ready.push(Reverse(next.index()));
            }
        }
    }
    out
}
