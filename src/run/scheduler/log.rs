//! What is noted about the work for a node, for the record of the run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use towline_api::Report;

use crate::plan::{CacheState, ExpectationRecord};
use crate::run::work::{Role, WorkItem};
use crate::store::Entry;

/// What is noted about the work for a node.
#[derive(Debug, Clone, Default)]
pub(super) struct WorkLog {
    /// What the store had of each work item when it was first looked up.
    pub(super) states: Vec<CacheState>,
    /// Digests of what was connected: by node, or by path for the files of a source.
    pub(super) inputs: Vec<(String, String)>,
    /// The keys of what was made and reused.
    pub(super) keys: Vec<String>,
    /// Rows of the output, where they were counted.
    pub(super) rows: Option<u64>,
    /// Its metrics.
    pub(super) metrics: BTreeMap<String, f64>,
    /// What a person wants to see.
    pub(super) report: Report,
    /// The outcomes of its expectations, where they were checked.
    pub(super) expectations: Vec<ExpectationRecord>,
}

impl WorkLog {
    /// Notes the entry that a work item came to.
    pub(super) fn entry(&mut self, item: &WorkItem, entry: &Entry) {
        if item.role == Role::Task {
            self.metrics.clone_from(&entry.metrics);
            self.report = entry.report.clone();
        }
        if !self.keys.contains(&entry.key) {
            self.keys.push(entry.key.clone());
        }
    }

    /// Whether an entry came from the shared store.
    pub(super) fn fetched(&self) -> bool {
        self.states.contains(&CacheState::Found { from_shared: true })
    }
}

/// The log of one node. It outlives a job that is left to itself, so that what was noted until then is not lost.
#[derive(Clone, Default)]
pub(super) struct SharedLog(Arc<Mutex<WorkLog>>);

impl SharedLog {
    /// Notes something.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut WorkLog) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was noted so far.
    pub(super) fn read(&self) -> WorkLog {
        self.note(|log| log.clone())
    }
}
