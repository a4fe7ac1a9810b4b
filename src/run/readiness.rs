//! When a node can start: all that it needs is there, or has failed and it can do without.

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use serde_json::json;
use towline_api::Artifact;

use crate::plan::Origin;
use crate::run::record::NodeStatus;
use crate::run::schedule::{Ended, Schedule};
use crate::run::value::NodeValue;
use crate::store::digest_json;

impl Schedule {
    /// Whether all that it needs is done. A node behind a failure is ended here.
    pub(super) fn is_ready(&mut self, node: usize) -> bool {
        let needs = self.needs(node);
        let fatal = |need: &&usize| self.is_broken(**need) && !self.can_do_without(node, **need);
        if let Some(&broken) = needs.iter().find(fatal) {
            let name = self.runner.name(broken);
            let reason = match self.runner.choices.left_out.get(&broken) {
                Some(why) => format!("it needs `{name}`, which is {why}"),
                None => format!("`{name}` did not finish"),
            };
            return self.leave(node, NodeStatus::Skipped, reason);
        }
        let unplanned =
            |need: &&usize| self.values[**need].is_none() && self.ended.contains_key(need) && !self.is_broken(**need);
        if let Some(&need) = needs.iter().find(unplanned).filter(|_| self.runner.plan_only) {
            let mut reasons = self.runner.own_changes(node);
            reasons.push(format!("`{}` would run", self.runner.name(need)));
            return self.leave(node, NodeStatus::Ran, reasons.join(", "));
        }
        let is_settled = |need: &usize| self.values[*need].is_some() || self.is_broken(*need);
        if !needs.iter().all(is_settled) {
            return false;
        }
        match self.empty_port(node) {
            Some(port) => {
                let reason = format!("nothing of what is connected to `{port}` finished");
                self.leave(node, NodeStatus::Skipped, reason)
            }
            None => true,
        }
    }

    /// What its references name, in order. Where something failed that it can do without, that stands for it.
    pub(super) fn inputs(&self, node: usize) -> Vec<NodeValue> {
        let references = self.runner.pipeline.nodes[node].inputs.references();
        references
            .iter()
            .filter_map(|reference| {
                let value = self.values[reference.node].clone();
                value.or_else(|| self.failure(reference.node))
            })
            .collect()
    }

    fn needs(&self, node: usize) -> Vec<usize> {
        let graph = &self.runner.pipeline.graph;
        graph
            .neighbors_directed(NodeIndex::new(node), Direction::Incoming)
            .map(NodeIndex::index)
            .collect()
    }

    /// Ends a node that does not start; it is not ready.
    fn leave(&mut self, node: usize, status: NodeStatus, reason: String) -> bool {
        let failed = self.needs(node).into_iter().any(|need| self.has_failed(need));
        let mut ended = Ended::at_once(status, reason);
        ended.failed = failed;
        self.ended.insert(node, ended);
        false
    }

    fn is_broken(&self, node: usize) -> bool {
        let ended = self.ended.get(&node);
        ended.is_some_and(|ended| matches!(ended.status, NodeStatus::Failed | NodeStatus::Skipped))
    }

    /// What somebody left out or interrupted has not failed.
    fn has_failed(&self, node: usize) -> bool {
        self.ended.get(&node).is_some_and(|ended| ended.failed)
    }

    /// Whether a node runs all the same though one that it needs has failed.
    fn can_do_without(&self, node: usize, need: usize) -> bool {
        let own = &self.runner.pipeline.nodes[node];
        let waits = own.after.iter().any(|(after, _)| *after == need);
        let tolerated = self
            .connections(node)
            .all(|(port, from)| from != need || self.is_tolerant(node, port));
        !waits && tolerated && self.has_failed(need)
    }

    /// A tolerant port on which everything has failed.
    fn empty_port(&self, node: usize) -> Option<&'static str> {
        let came = |port: &str| {
            let mut own = self.connections(node).filter(|(other, _)| *other == port);
            own.any(|(_, from)| self.values[from].is_some())
        };
        self.connections(node)
            .map(|(port, _)| port)
            .find(|port| self.is_tolerant(node, port) && !came(port))
    }

    /// The ports of a node, each with the node that is connected to it.
    fn connections(&self, node: usize) -> impl Iterator<Item = (&'static str, usize)> {
        let references = self.runner.pipeline.nodes[node].inputs.references();
        let bindings = &self.runner.nodes[node].bindings;
        bindings
            .iter()
            .map(move |binding| (binding.port, references[binding.reference].node))
    }

    fn is_tolerant(&self, node: usize, port: &str) -> bool {
        let ports = self.runner.nodes[node].descriptor.ports;
        ports.iter().any(|own| own.name == port && own.tolerant)
    }

    /// What stands for the output of a node that failed. The reason is a part of it, and so of the keys of what reads it:
    /// what was made without this output is not taken for what is made with it.
    fn failure(&self, node: usize) -> Option<NodeValue> {
        let reason = self.ended.get(&node).map(|ended| ended.reason.clone())?;
        let digest = digest_json(&json!({ "failed": reason }));
        Some(NodeValue::Other {
            origin: Origin::stored(self.runner.name(node), &digest, None, None),
            artifact: Artifact::Failed(reason),
        })
    }
}
