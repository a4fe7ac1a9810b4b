//! Which nodes a run or a plan is about.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use towline_api::Form;

use crate::plan::{Selection, Selector, placements, reach};
use crate::typing::{NodeId, TypedGraph};

/// The options that choose nodes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Choosing {
    /// Only these nodes, and what they need: a name, a pattern (`user_*`), `op:Categorify`, `tag:user`, `state:changed`;
    /// with `+` before or after it also what it needs or what needs it (`clicks+`, `clicks+2`).
    #[arg(long, short = 's', value_name = "SELECTOR")]
    select: Vec<Selector>,
    /// Not these nodes, nor what needs them.
    #[arg(long, value_name = "SELECTOR")]
    exclude: Vec<Selector>,
    /// Only this node and what needs it (and what that needs).
    #[arg(long, value_name = "NODE")]
    from: Option<Selector>,
    /// Only this node and what it needs.
    #[arg(long, value_name = "NODE")]
    until: Option<Selector>,
    /// Run these nodes even if nothing has changed.
    #[arg(long, value_name = "SELECTOR")]
    force: Vec<Selector>,
    /// Take nothing from the store: every node runs.
    #[arg(long)]
    no_cache: bool,
}

impl Choosing {
    /// Whether it has to be known first what has changed.
    pub(in crate::cli) fn ask_for_changes(&self) -> bool {
        let lists = [&self.select, &self.exclude, &self.force];
        let single = self.from.iter().chain(&self.until);
        lists
            .into_iter()
            .flatten()
            .chain(single)
            .any(Selector::asks_for_changes)
    }

    /// The selection that these options make; `changed` are the nodes that would run.
    pub(in crate::cli) fn resolve(&self, graph: &TypedGraph, changed: &BTreeSet<NodeId>) -> Result<Selection, String> {
        let nodes = |selector: &Selector| selector.nodes(graph, changed);
        let union = |selectors: &[Selector]| {
            let mut out = BTreeSet::new();
            for selector in selectors {
                out.extend(nodes(selector)?);
            }
            Ok::<_, String>(out)
        };
        let mut wanted: BTreeSet<NodeId> = if self.select.is_empty() {
            graph.ids().collect()
        } else {
            union(&self.select)?
        };
        for (selector, limits) in [
            (&self.from, self.from.clone().map(Selector::and_what_follows)),
            (&self.until, self.until.clone().map(Selector::and_what_it_needs)),
        ] {
            if let (Some(_), Some(limits)) = (selector, limits) {
                let limits = nodes(&limits)?;
                wanted.retain(|node| limits.contains(node));
            }
        }
        let excluded = union(&self.exclude)?;
        wanted.retain(|node| !excluded.contains(node));
        let needed = reach(graph, &wanted, Direction::Incoming, usize::MAX);
        let left_out = graph.ids().filter_map(|node| {
            let reason = if excluded.contains(&node) {
                "excluded"
            } else if wanted.contains(&node) || needed.contains(&node) {
                return None;
            } else {
                "not selected"
            };
            Some((node, reason.to_owned()))
        });
        let left_out = left_out.collect();
        let mut fresh: BTreeMap<NodeId, String> = BTreeMap::new();
        if self.no_cache {
            fresh.extend(graph.ids().map(|node| (node, "--no-cache".to_owned())));
        }
        let forced = with_own_work(graph, union(&self.force)?);
        fresh.extend(forced.into_iter().map(|node| (node, "forced".to_owned())));
        Ok(Selection { left_out, fresh })
    }
}

/// The nodes, and for each that has no work of its own, since it is a part of the plans of what reads it, what reads it.
fn with_own_work(graph: &TypedGraph, nodes: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    if nodes.is_empty() {
        return nodes;
    }
    let placements = placements(graph);
    let mut open: Vec<NodeId> = nodes.iter().copied().collect();
    let mut all = nodes;
    while let Some(node) = open.pop() {
        let learns = matches!(graph[node].form(), Form::Stateful(_));
        if placements[&node].is_stored() || learns {
            continue;
        }
        for reader in reach(graph, &BTreeSet::from([node]), Direction::Outgoing, 1) {
            if all.insert(reader) {
                open.push(reader);
            }
        }
    }
    all
}
