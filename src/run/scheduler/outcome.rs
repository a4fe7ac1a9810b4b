//! How nodes ended, for observers and for the record.

use towline_api::OperatorError;

use crate::plan::{Decision, FROM_SHARED, JobId};
use crate::run::events::Event;
use crate::run::failure::Failure;
use crate::run::record::{NodeRecord, NodeStatus};
use crate::run::scheduler::Scheduler;
use crate::run::scheduler::log::WorkLog;
use crate::run::value::NodeValue;
use crate::typing::NodeId;

impl Scheduler {
    /// Notes how a node ended.
    pub(super) fn end(&mut self, id: NodeId, result: Result<NodeValue, Failure>, seconds: f64) {
        let seconds = seconds + self.seconds.get(&id).copied().unwrap_or_default();
        self.seconds.insert(id, seconds);
        let log = self.log(id).read();
        let (status, reason) = match result {
            Ok(value) => {
                let decision = self.state.decide(JobId::Node(id), Some(&log.states));
                self.state.set_value(id, value);
                carried_out(decision)
            }
            Err(Failure::Operator(OperatorError::Cancelled)) => (NodeStatus::Skipped, "interrupted".to_owned()),
            Err(failure) => (NodeStatus::Failed, failure.to_string()),
        };
        self.attempts.events.emit(&Event::NodeEnded {
            node: self.graph[id].name.clone(),
            status,
            reason: reason.clone(),
            seconds,
            rows: log.rows,
        });
        self.state.end(id, status, reason);
    }

    /// The record of a node.
    pub(super) fn record(&self, id: NodeId) -> NodeRecord {
        let node = &self.graph[id];
        let ended = self.state.ended(id).cloned();
        let (status, reason) = ended.map_or_else(
            || (NodeStatus::Skipped, "interrupted".to_owned()),
            |ended| (ended.status, ended.reason),
        );
        let WorkLog {
            rows,
            metrics,
            report,
            inputs,
            keys,
            expectations,
            ..
        } = self.log(id).read();
        let value = self.state.value(id);
        NodeRecord {
            name: node.name.clone(),
            operator: node.descriptor.name.to_owned(),
            status,
            reason,
            seconds: self.seconds.get(&id).copied().unwrap_or_default(),
            rows,
            metrics,
            report,
            code: node.descriptor.code_version,
            with: node.built.cache_config.clone(),
            inputs,
            output: value.map(|value| value.origin().digest().to_owned()),
            receipt: value.and_then(NodeValue::receipt).cloned(),
            placement: self.jobs.cache.resolver.placements[&id].to_string(),
            keys,
            expectations,
        }
    }
}

/// How a node ended for which this was decided, and why.
fn carried_out(decision: Decision) -> (NodeStatus, String) {
    match decision {
        Decision::Reuse { from_shared: true } => (NodeStatus::Reused, FROM_SHARED.to_owned()),
        Decision::Reuse { from_shared: false } => (NodeStatus::Reused, String::new()),
        Decision::Run(reasons) => (NodeStatus::Ran, reasons.join(", ")),
        Decision::Fuse | Decision::Pending(_) => (NodeStatus::Fused, String::new()),
        Decision::Skip(reason) => (NodeStatus::Skipped, reason),
        Decision::Fail(reason) => (NodeStatus::Failed, reason),
    }
}
