//! A run that has ended, and what it produced.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::runtime::Runtime;
use towline_api::suggest;

use crate::engine::EngineError;
use crate::run::{NodeRecord, NodeStatus, NodeValue, RunOutcome, RunRecord, collect};
use crate::typing::{NodeId, TypedGraph};

/// A run that has ended.
pub struct Run {
    graph: Arc<TypedGraph>,
    record: RunRecord,
    values: BTreeMap<NodeId, NodeValue>,
    /// Ends with the run; operators that were interrupted and did not stop are not waited for.
    runtime: Option<Runtime>,
}

impl Run {
    pub(super) fn new(graph: Arc<TypedGraph>, outcome: RunOutcome, runtime: Runtime) -> Self {
        Run {
            graph,
            record: outcome.record,
            values: outcome.values,
            runtime: Some(runtime),
        }
    }

    /// The record of the run: how each node ended, with metrics.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Whether every node that was selected finished.
    pub fn succeeded(&self) -> bool {
        !self.record.interrupted && self.record.count(NodeStatus::Failed) == 0
    }

    /// The record of a node.
    pub fn node(&self, name: &str) -> Result<&NodeRecord, EngineError> {
        let id = self.find(name)?;
        self.record.nodes.get(id.index()).ok_or_else(|| EngineError::NoRows {
            name: name.to_owned(),
            why: "the run has no record of it".to_owned(),
        })
    }

    /// The rows of a node, by split: read from the store, or computed where the node is part of the plans of what reads it.
    pub fn dataset(&self, name: &str) -> Result<Vec<(String, Vec<RecordBatch>)>, EngineError> {
        let id = self.find(name)?;
        let no_rows = |why: &str| EngineError::NoRows {
            name: name.to_owned(),
            why: why.to_owned(),
        };
        let Some(value) = self.values.get(&id) else {
            let reason = self.node(name).map(|node| node.reason.clone()).unwrap_or_default();
            return Err(no_rows(&format!("it did not finish: {reason}")));
        };
        let (NodeValue::Dataset { lazy, .. }, Some(runtime)) = (value, &self.runtime) else {
            return Err(no_rows("its output is no dataset"));
        };
        Ok(collect(lazy, runtime.handle())?)
    }

    fn find(&self, name: &str) -> Result<NodeId, EngineError> {
        self.graph.find(name).ok_or_else(|| EngineError::UnknownNode {
            name: name.to_owned(),
            help: suggest::sentence(name, &self.graph.names(), "nodes"),
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
