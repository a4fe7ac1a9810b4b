//! Cycle detection and topological order. Nothing here recurses: a chain may have any length.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

/// One shortest cycle for each strongly connected component, each beginning with its smallest index.
pub(crate) fn cycles(graph: &DiGraph<usize, ()>) -> Vec<Vec<usize>> {
    let mut found: Vec<Vec<usize>> = kosaraju_scc(graph)
        .into_iter()
        .filter_map(|group| {
            let first = group.iter().copied().min()?;
            let cycle = group.len() > 1 || graph.contains_edge(first, first);
            cycle.then(|| shortest_cycle(graph, first))
        })
        .collect();
    found.sort();
    found
}

/// The shortest cycle through a node.
fn shortest_cycle(graph: &DiGraph<usize, ()>, start: NodeIndex) -> Vec<usize> {
    let mut came_from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(node) = waiting.pop_front() {
        let mut next: Vec<NodeIndex> = graph.neighbors(node).collect();
        next.sort_unstable();
        for neighbor in next {
            if neighbor == start {
                let mut path = vec![node.index()];
                let mut at = node;
                while let Some(&before) = came_from.get(&at) {
                    path.push(before.index());
                    at = before;
                }
                path.reverse();
                return path;
            }
            if let Entry::Vacant(place) = came_from.entry(neighbor) {
                place.insert(node);
                waiting.push_back(neighbor);
            }
        }
    }
    vec![start.index()]
}

/// Topological order, smaller indices first; nodes on and behind cycles are left out.
pub(crate) fn order(graph: &DiGraph<usize, ()>) -> Vec<usize> {
    let mut missing: Vec<usize> = graph
        .node_indices()
        .map(|node| graph.edges_directed(node, Direction::Incoming).count())
        .collect();
    let mut ready: BinaryHeap<Reverse<usize>> = (0..missing.len())
        .filter(|&node| missing[node] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for next in graph.neighbors(NodeIndex::new(node)) {
            missing[next.index()] -= 1;
            if missing[next.index()] == 0 {
                ready.push(Reverse(next.index()));
            }
        }
    }
    order
}
