//! Whether a piece of work has to be done, and what it leaves in the store.

use std::collections::BTreeMap;
use std::time::Instant;

use towline_operators::contract::{Purity, Report};

use super::runner::{Failure, Runner};
use crate::pipeline::CacheMode;
use crate::plan::{Fingerprint, changes};
use crate::store::{Content, Entry};

/// What a piece of work is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The work of a task.
    Task,
    /// What a stateful operator learns.
    Fit,
    /// The rows of a dataset.
    Rows,
}

impl Role {
    /// The word in fingerprints and in the memory of a node's works.
    pub(super) fn word(self) -> &'static str {
        match self {
            Role::Task => "task",
            Role::Fit => "fit",
            Role::Rows => "rows",
        }
    }
}

/// A piece of work of a node.
pub(super) struct Piece {
    pub(super) node: usize,
    pub(super) role: Role,
    pub(super) fingerprint: Fingerprint,
}

/// What has to happen for a piece of work.
pub(super) enum Claim {
    /// Nothing: it was done before.
    Done(Entry),
    /// It has to be made.
    Make(Making),
}

/// A piece of work that is being made.
pub(super) struct Making {
    piece: Piece,
    start: Instant,
}

/// What a piece of work came to.
pub(super) struct Made {
    pub(super) content: Content,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) report: Report,
}

impl From<Content> for Made {
    fn from(content: Content) -> Self {
        Made {
            content,
            metrics: BTreeMap::new(),
            report: Report::default(),
        }
    }
}

impl Runner {
    /// The entry of a piece of work: from the store, or made now.
    pub(super) fn produce(&self, piece: Piece, make: impl FnOnce() -> Result<Made, Failure>) -> Result<Entry, Failure> {
        match self.claim(piece)? {
            Claim::Done(entry) => Ok(entry),
            Claim::Make(making) => {
                let made = make()?;
                self.publish(making, made)
            }
        }
    }

    /// Finds out whether a piece of work has to be done; in a plan, one that has to is a failure that says why.
    pub(super) fn claim(&self, piece: Piece) -> Result<Claim, Failure> {
        if let Some(entry) = self.reusable(&piece) {
            self.note(piece.node, |work| work.reused = true);
            self.settle(&piece, &entry);
            return Ok(Claim::Done(entry));
        }
        let reason = self.reason(&piece);
        if self.plan_only {
            return Err(Failure::WouldRun(reason));
        }
        self.note(piece.node, |work| {
            work.ran = true;
            if work.reason.is_empty() {
                work.reason = reason;
            }
        });
        Ok(Claim::Make(Making {
            piece,
            start: Instant::now(),
        }))
    }

    /// Publishes what a piece of work came to.
    pub(super) fn publish(&self, making: Making, made: Made) -> Result<Entry, Failure> {
        let Making { piece, start } = making;
        let entry = Entry {
            key: piece.fingerprint.key(),
            parts: piece.fingerprint.parts().clone(),
            content: made.content,
            metrics: made.metrics,
            report: made.report,
            seconds: start.elapsed().as_secs_f64(),
        };
        self.store.publish_entry(&entry)?;
        self.settle(&piece, &entry);
        Ok(entry)
    }

    fn reusable(&self, piece: &Piece) -> Option<Entry> {
        if self.pipeline.nodes[piece.node].settings.cache == CacheMode::Never {
            return None;
        }
        self.store
            .entry(&piece.fingerprint.key())
            .filter(|entry| self.still_there(piece.node, entry))
    }

    fn still_there(&self, node: usize, entry: &Entry) -> bool {
        let typed = &self.nodes[node];
        match &entry.content {
            Content::Receipt { receipt } if typed.descriptor.purity == Purity::Effect => {
                typed.built.operator.still_published(receipt)
            }
            _ => true,
        }
    }

    /// Takes down what a node's work came to, for the record and for later runs.
    fn settle(&self, piece: &Piece, entry: &Entry) {
        if piece.role == Role::Task {
            self.note(piece.node, |work| {
                work.metrics.clone_from(&entry.metrics);
                work.report = entry.report.clone();
                work.receipt = match &entry.content {
                    Content::Receipt { receipt } => Some(receipt.clone()),
                    _ => None,
                };
            });
        }
        // Only `show` and the reasons of `plan` read this memory: a run does not fail for it.
        let _ = self
            .store
            .remember_node(&self.pipeline.name, &self.work_name(piece), entry);
    }

    /// Why a piece of work has to be done, in words.
    fn reason(&self, piece: &Piece) -> String {
        let Some(last) = self.store.last_of_node(&self.pipeline.name, &self.work_name(piece)) else {
            return "never ran".to_owned();
        };
        let changes = changes(&last.parts, piece.fingerprint.parts());
        if changes.is_empty() {
            "what it published is gone".to_owned()
        } else {
            changes.join(", ")
        }
    }

    fn work_name(&self, piece: &Piece) -> String {
        format!("{}#{}", self.name(piece.node), piece.role.word())
    }
}
