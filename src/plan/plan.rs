//! What a run would do: a decision for each job, with what explains it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::checks::Outcome;
use crate::plan::decide::{Awaited, Decision, JobId};
use crate::plan::placement::Placement;
use crate::typing::NodeId;

/// Which nodes a run is about, and which may not reuse what is stored. A node that is not mentioned runs if it has changed.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Why a node is left out, for those that are.
    pub left_out: BTreeMap<NodeId, String>,
    /// Why a node takes nothing from the store, for those that don't.
    pub fresh: BTreeMap<NodeId, String>,
}

/// The outcome of an expectation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectationRecord {
    /// The expression as it was written.
    pub expression: String,
    /// Where it stands: `file:line:column`.
    pub location: String,
    /// Whether it holds, and the values of its parts.
    pub outcome: Outcome,
}

/// What a run would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The name of the pipeline.
    pub pipeline: String,
    /// The nodes, in the order of the file.
    pub nodes: Vec<PlannedNode>,
}

/// What a run would do for a node.
#[derive(Debug, Clone)]
pub struct PlannedNode {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// The name of its operator.
    pub operator: String,
    /// The decision on its fit, if it has one.
    pub fit: Option<Decision>,
    /// The decision on all else.
    pub decision: Decision,
    /// While it is pending: why, as far as that is known.
    pub waiting: Vec<String>,
    /// Where its output lives.
    pub placement: Placement,
    /// The outcome of its expectations, where it is known.
    pub expectations: Vec<ExpectationRecord>,
}

impl PlannedNode {
    /// The decision on the node as a whole: that on its fit, while there is something to do for it.
    pub fn overall(&self) -> Decision {
        match (&self.fit, &self.decision) {
            (Some(Decision::Reuse { from_shared: fit }), Decision::Reuse { from_shared: own }) => Decision::Reuse {
                from_shared: *fit || *own,
            },
            (Some(fit), Decision::Fuse) => fit.clone(),
            (None | Some(Decision::Reuse { .. }), own) => own.clone(),
            (Some(fit), _) => fit.clone(),
        }
    }

    /// Why, in words.
    pub fn why(&self) -> String {
        match self.overall() {
            Decision::Reuse { from_shared: true } => FROM_SHARED.to_owned(),
            Decision::Reuse { from_shared: false } | Decision::Fuse => String::new(),
            Decision::Run(reasons) => reasons.join(", "),
            Decision::Skip(reason) | Decision::Fail(reason) => reason,
            Decision::Pending(_) => self.waiting.join(", "),
        }
    }

    /// Whether nothing is wrong but that an expectation does not hold.
    pub fn is_unmet(&self) -> bool {
        matches!(self.overall(), Decision::Fail(_)) && self.expectations.iter().any(|record| !record.outcome.met)
    }
}

/// Why a node does not run whose output was not made on this machine.
pub const FROM_SHARED: &str = "from the shared store";

impl Plan {
    /// The decision on a job; nothing, if the node has no such job.
    pub fn decision(&self, job: JobId) -> Option<&Decision> {
        let node = self.nodes.get(job.node().index())?;
        match job {
            JobId::Fit(_) => node.fit.as_ref(),
            JobId::Node(_) => Some(&node.decision),
        }
    }

    /// The nodes for which a run would do something.
    pub fn would_run(&self) -> BTreeSet<NodeId> {
        let run = self.nodes.iter().filter(|node| node.overall().would_run());
        run.map(|node| node.id).collect()
    }

    /// The nodes that a pending node waits for.
    pub fn awaited(&self, node: NodeId) -> Vec<NodeId> {
        match self.nodes.get(node.index()).map(PlannedNode::overall) {
            Some(Decision::Pending(on)) => on
                .into_iter()
                .filter_map(|awaited| match awaited {
                    Awaited::Job(job) => Some(job.node()),
                    Awaited::Lookup => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}
