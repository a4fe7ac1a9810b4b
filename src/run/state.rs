//! How far a plan or a run is: what is known of each node, as the decisions need it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use towline_api::{Artifact, Form};

use crate::plan::{CacheState, Decision, JobId, Known, Need, NeedState, Origin, Selection, decide};
use crate::run::record::NodeStatus;
use crate::run::resolve::Fitted;
use crate::run::value::NodeValue;
use crate::store::digest_json;
use crate::typing::{NodeId, TypedGraph};

/// How a node ended, and why.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) status: NodeStatus,
    pub(super) reason: String,
    /// Whether a failure is why it has no output: its own, or one of what it needed.
    pub(super) failed: bool,
}

/// What is known of each node.
pub(super) struct RunState {
    graph: Arc<TypedGraph>,
    selection: Selection,
    values: BTreeMap<NodeId, NodeValue>,
    fitted: BTreeMap<NodeId, Fitted>,
    ended: BTreeMap<NodeId, Ended>,
}

impl RunState {
    pub(super) fn new(graph: Arc<TypedGraph>, selection: Selection) -> Self {
        let skipped = |(id, reason): (&NodeId, &String)| {
            let ended = Ended {
                status: NodeStatus::Skipped,
                reason: reason.clone(),
                failed: false,
            };
            (*id, ended)
        };
        RunState {
            ended: selection.left_out.iter().map(skipped).collect(),
            graph,
            selection,
            values: BTreeMap::new(),
            fitted: BTreeMap::new(),
        }
    }

    /// The job of a node that comes next: its fit, if it has one that is not known, else all else.
    pub(super) fn next_job(&self, node: NodeId) -> JobId {
        let fits = matches!(self.graph[node].form(), Form::Stateful(_));
        if fits && !self.fitted.contains_key(&node) {
            JobId::Fit(node)
        } else {
            JobId::Node(node)
        }
    }

    /// The decision on a job, by what is known; `work` is what the store has of its work items, if it was asked.
    pub(super) fn decide(&self, job: JobId, work: Option<&[CacheState]>) -> Decision {
        let id = job.node();
        let mut needs: Vec<Need<'_>> = self.graph.needs(id).map(|need| self.need(id, need)).collect();
        if matches!(job, JobId::Node(_)) && self.next_job(id) == JobId::Fit(id) {
            needs.push(Need {
                job: JobId::Fit(id),
                name: &self.graph[id].name,
                state: NeedState::Pending,
            });
        }
        decide(&Known {
            left_out: self.selection.left_out.get(&id).map(String::as_str),
            needs: &needs,
            empty_port: self.empty_port(id),
            work,
        })
    }

    /// How far something is that a node needs.
    fn need(&self, node: NodeId, need: NodeId) -> Need<'_> {
        let state = if let Some(why) = self.selection.left_out.get(&need) {
            NeedState::LeftOut(why)
        } else if self.is_broken(need) {
            if self.can_do_without(node, need) {
                NeedState::Tolerated
            } else {
                NeedState::Broken
            }
        } else if self.values.contains_key(&need) {
            NeedState::Known
        } else {
            NeedState::Pending
        };
        Need {
            job: JobId::Node(need),
            name: &self.graph[need].name,
            state,
        }
    }

    fn is_broken(&self, node: NodeId) -> bool {
        let ended = self.ended.get(&node);
        ended.is_some_and(|ended| matches!(ended.status, NodeStatus::Failed | NodeStatus::Skipped))
    }

    /// What was left out or interrupted has not failed.
    fn has_failed(&self, node: NodeId) -> bool {
        self.ended.get(&node).is_some_and(|ended| ended.failed)
    }

    /// Whether a node runs all the same though one that it needs has failed.
    fn can_do_without(&self, node: NodeId, need: NodeId) -> bool {
        let own = &self.graph[node];
        let mut connections = own.connections.iter();
        let tolerated =
            connections.all(|connection| connection.from != need || self.is_tolerant(node, connection.port));
        !own.after.contains(&need) && tolerated && self.has_failed(need)
    }

    /// A tolerant port on which everything has failed.
    fn empty_port(&self, node: NodeId) -> Option<&'static str> {
        let connections = &self.graph[node].connections;
        let failed = |port: &str| {
            let mut own = connections.iter().filter(|connection| connection.port == port);
            own.all(|connection| self.is_broken(connection.from))
        };
        let mut ports = connections.iter().map(|connection| connection.port);
        ports.find(|port| self.is_tolerant(node, port) && failed(port))
    }

    fn is_tolerant(&self, node: NodeId, port: &str) -> bool {
        self.graph[node].port(port).is_some_and(|port| port.tolerant)
    }

    /// What is connected to a node, by connection. Where something failed that the node does without, the failure stands
    /// for it.
    pub(super) fn inputs(&self, node: NodeId) -> Vec<NodeValue> {
        let connections = self.graph[node].connections.iter();
        connections
            .filter_map(|connection| {
                let value = self.values.get(&connection.from);
                let value = value.map(|value| value.selected(&connection.selection));
                value.or_else(|| self.failure(connection.from))
            })
            .collect()
    }

    /// What stands for the output of a node that failed. The reason is a part of it, and so of the keys of what reads it:
    /// what was made without this output is not taken for what is made with it.
    fn failure(&self, node: NodeId) -> Option<NodeValue> {
        let reason = self.ended.get(&node).map(|ended| ended.reason.clone())?;
        let digest = digest_json(&json!({ "failed": reason }));
        Some(NodeValue::Other {
            origin: Origin::stored(&self.graph[node].name, &digest, None, None),
            artifact: Artifact::Failed(reason),
        })
    }

    /// Notes the output of a node.
    pub(super) fn set_value(&mut self, node: NodeId, value: NodeValue) {
        self.values.insert(node, value);
    }

    /// The output of a node, if it is known.
    pub(super) fn value(&self, node: NodeId) -> Option<&NodeValue> {
        self.values.get(&node)
    }

    /// The outputs of all nodes that are known.
    pub(super) fn into_values(self) -> BTreeMap<NodeId, NodeValue> {
        self.values
    }

    /// Notes what a fit learnt.
    pub(super) fn set_fitted(&mut self, node: NodeId, fitted: Fitted) {
        self.fitted.insert(node, fitted);
    }

    /// What the fit of a node learnt, if that is known.
    pub(super) fn fitted(&self, node: NodeId) -> Option<&Fitted> {
        self.fitted.get(&node)
    }

    /// Notes that a node ended that is selected. A node that is skipped has failed if something that it needs has.
    pub(super) fn end(&mut self, node: NodeId, status: NodeStatus, reason: String) {
        let behind = status == NodeStatus::Skipped && self.graph.needs(node).any(|need| self.has_failed(need));
        let failed = status == NodeStatus::Failed || behind;
        self.ended.insert(node, Ended { status, reason, failed });
    }

    /// How a node ended, if it has.
    pub(super) fn ended(&self, node: NodeId) -> Option<&Ended> {
        self.ended.get(&node)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use towline_api::State;

    use super::*;
    use crate::plan::Awaited;

    const PIPELINE: &str = "\
version: 1
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: 10 } }
  user: rows[user_id] >> Categorify >> TagAsUserID
  last: { op: ParquetExport, input: user, with: { path: out } }
";

    fn state(left_out: &[&str]) -> (Arc<TypedGraph>, RunState) {
        let pipeline = crate::Engine::new().open_text("p.yaml", PIPELINE, &[]).unwrap();
        let graph = Arc::new(pipeline.graph().unwrap());
        let left_out = left_out
            .iter()
            .map(|name| (graph.find(name).unwrap(), "excluded".to_owned()));
        let selection = Selection {
            left_out: left_out.collect(),
            ..Selection::default()
        };
        (Arc::clone(&graph), RunState::new(graph, selection))
    }

    fn value() -> NodeValue {
        NodeValue::Other {
            artifact: Artifact::Metrics(BTreeMap::new()),
            origin: Origin::stored("rows", "00", None, None),
        }
    }

    #[test]
    fn a_stateful_node_is_two_jobs_each_ready_when_what_it_needs_is_known() {
        let (graph, mut state) = state(&[]);
        let [rows, encoded] = ["rows", "user.1:Categorify"].map(|name| graph.find(name).unwrap());
        let ready = Decision::Pending(vec![Awaited::Lookup]);
        assert_eq!(state.next_job(rows), JobId::Node(rows));
        assert_eq!(state.decide(JobId::Node(rows), None), ready);
        assert_eq!(state.next_job(encoded), JobId::Fit(encoded));
        let on_rows = Decision::Pending(vec![Awaited::Job(JobId::Node(rows))]);
        assert_eq!(state.decide(JobId::Fit(encoded), None), on_rows);
        state.set_value(rows, value());
        assert_eq!(state.decide(JobId::Fit(encoded), None), ready);
        let on_fit = Decision::Pending(vec![Awaited::Job(JobId::Fit(encoded))]);
        assert_eq!(state.decide(JobId::Node(encoded), None), on_fit);
        let fitted = (State::default(), Origin::stored("fit", "11", None, None));
        state.set_fitted(encoded, fitted);
        assert_eq!(state.next_job(encoded), JobId::Node(encoded));
        assert_eq!(state.decide(JobId::Node(encoded), None), ready);
    }

    #[test]
    fn what_is_behind_a_failure_is_skipped_and_counts_as_failed() {
        let (graph, mut state) = state(&[]);
        let [rows, encoded, last] = ["rows", "user.1:Categorify", "last"].map(|name| graph.find(name).unwrap());
        state.end(rows, NodeStatus::Failed, "no disk".into());
        let skipped = Decision::Skip("`rows` did not finish".into());
        assert_eq!(state.decide(JobId::Fit(encoded), None), skipped);
        state.end(encoded, NodeStatus::Skipped, "`rows` did not finish".into());
        assert!(state.ended(encoded).unwrap().failed);
        assert!(state.ended(last).is_none());
    }

    #[test]
    fn a_node_that_is_left_out_has_not_failed_and_what_needs_it_says_so() {
        let (graph, state) = state(&["rows"]);
        let [rows, encoded] = ["rows", "user.1:Categorify"].map(|name| graph.find(name).unwrap());
        let left_out = Decision::Skip("excluded".into());
        assert_eq!(state.decide(JobId::Node(rows), None), left_out);
        assert!(!state.ended(rows).unwrap().failed);
        let skipped = Decision::Skip("it needs `rows`, which is excluded".into());
        assert_eq!(state.decide(JobId::Fit(encoded), None), skipped);
    }
}
