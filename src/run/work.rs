//! Work items: what the store keeps an entry of.

use std::collections::BTreeSet;

use towline_api::{Artifact, Inputs, LazyDataset};

use crate::checks::Fact;
use crate::plan::Step;
use crate::run::execute::fit::FitRequest;
use crate::run::failure::Failure;
use crate::store::Entry;
use crate::typing::NodeId;

/// What a work item is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The work of a task or a sink.
    Task,
    /// What a stateful operator learns.
    Fit,
    /// The rows of a dataset.
    Rows,
    /// What expectations need to know of the rows.
    Facts,
}

impl Role {
    /// The word in fingerprints and in the store's memory of a node's work items.
    pub(super) fn word(self) -> &'static str {
        match self {
            Role::Task => "task",
            Role::Fit => "fit",
            Role::Rows => "rows",
            Role::Facts => "facts",
        }
    }

    /// The name under which the store remembers this work item of a node.
    pub(crate) fn of_node(self, node: &str) -> String {
        format!("{node}#{}", self.word())
    }
}

/// A piece of work of a node.
pub(super) struct WorkItem {
    pub(super) node: NodeId,
    pub(super) role: Role,
    pub(super) step: Step,
}

impl WorkItem {
    /// The key of its entry.
    pub(super) fn key(&self) -> String {
        self.step.fingerprint.key()
    }
}

/// What an executor needs to do a work item.
#[derive(Clone, Copy)]
pub(super) enum Work<'a> {
    /// To compute and write rows.
    Rows(&'a LazyDataset),
    /// To run a task or a sink.
    Task(&'a Inputs<Artifact>),
    /// To fit.
    Fit(&'a FitRequest),
    /// To measure facts about rows.
    Facts(&'a LazyDataset, &'a BTreeSet<Fact>),
}

/// Where the entries of work items come from while a node is resolved: a plan looks them up, a run makes those that are
/// missing.
pub(super) trait Entries {
    /// The entry of a work item; nothing, if it is not known yet.
    fn entry(&mut self, item: WorkItem, work: Work<'_>) -> Result<Option<Entry>, Failure>;

    /// Notes the digest of an input, by the name of the node or the path of the file.
    fn note_input(&mut self, name: String, digest: String);

    /// Notes the number of rows of the output.
    fn note_rows(&mut self, rows: Option<u64>);
}
