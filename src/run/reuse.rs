//! Whether a piece of work has to be done, and what it leaves in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;
use towline_api::{Form, OperatorError, Report, Sink};

use crate::config::CacheMode;
use crate::plan::{Explanation, Step, changes, compare};
use crate::run::progress::Event;
use crate::run::runner::{Failure, Runner};
use crate::store::{Content, Entry, Lock, Lookup, digest_json};

/// What a piece of work is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The work of a task.
    Task,
    /// What a stateful operator learns.
    Fit,
    /// The rows of a dataset.
    Rows,
    /// What expectations need to know of the rows.
    Facts,
}

impl Role {
    /// The word in fingerprints and in the memory of a node's works.
    pub(super) fn word(self) -> &'static str {
        match self {
            Role::Task => "task",
            Role::Fit => "fit",
            Role::Rows => "rows",
            Role::Facts => "facts",
        }
    }
}

/// A piece of work of a node.
pub(super) struct Piece {
    pub(super) node: usize,
    pub(super) role: Role,
    pub(super) step: Step,
}

impl Piece {
    pub(super) fn key(&self) -> String {
        self.step.fingerprint.key()
    }
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
    key: String,
    start: Instant,
    _lock: Lock,
    /// For effects, the place, and that nobody else publishes to it meanwhile.
    place: Option<(String, Lock)>,
}

/// What a piece of work came to.
pub(super) struct Made {
    pub(super) content: Content,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) report: Report,
}

impl Made {
    /// An error that names what differs, if the same work came to something else.
    fn compare(&self, again: &Made) -> Result<(), OperatorError> {
        let whole = |made: &Made| json!({ "content": made.content, "metrics": made.metrics });
        let mut differences = Vec::new();
        compare("made", &whole(self), &whole(again), &mut differences);
        if differences.is_empty() {
            return Ok(());
        }
        Err(OperatorError::invalid(format!(
            "not deterministic: the same work came to something else the second time: {}",
            differences.join(", ")
        )))
    }
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
    pub(super) fn produce(&self, piece: Piece, make: impl Fn() -> Result<Made, Failure>) -> Result<Entry, Failure> {
        match self.claim(piece)? {
            Claim::Done(entry) => Ok(entry),
            Claim::Make(making) => {
                let made = make()?;
                if self.verify_determinism {
                    made.compare(&make()?)?;
                }
                self.publish(making, made)
            }
        }
    }

    /// Finds out whether a piece of work has to be done; in a plan, one that has to is a failure that says why. Work that
    /// another run is doing is waited for, and then shared.
    pub(super) fn claim(&self, piece: Piece) -> Result<Claim, Failure> {
        let key = piece.key();
        let mut reason = match self.reusable(&piece, &key) {
            Ok(entry) => return Ok(self.reused(&piece, entry)),
            Err(reason) => reason,
        };
        if self.plan_only {
            let shared = self.shared_entry(&piece, &key);
            return shared.map_or(Err(Failure::WouldRun(reason)), |entry| Ok(self.reused(&piece, entry)));
        }
        let lock = self.lock(&piece, &key)?;
        // Whoever holds the lock on a place waits for no other.
        let place = match self.place(&piece) {
            Some(place) => {
                let lock = self.lock(&piece, &format!("place-{place}"))?;
                Some((place, lock))
            }
            None => None,
        };
        match self.reusable(&piece, &key) {
            Ok(entry) => return Ok(self.reused(&piece, entry)),
            Err(still) if still.starts_with("artifact") => reason = still,
            Err(_) => {}
        }
        if let Some(entry) = self.shared_entry(&piece, &key) {
            return Ok(self.reused(&piece, entry));
        }
        self.note(piece.node, |work| {
            work.ran = true;
            if work.reason.is_empty() {
                work.reason = reason;
            }
        });
        if let Some((place, _)) = &place {
            self.store.begin_publishing(place)?;
        }
        Ok(Claim::Make(Making {
            piece,
            key,
            start: Instant::now(),
            _lock: lock,
            place,
        }))
    }

    fn reused(&self, piece: &Piece, entry: Entry) -> Claim {
        self.note(piece.node, |work| work.reused = true);
        self.settle(piece, &entry);
        self.share(piece, &entry, false);
        Claim::Done(entry)
    }

    /// Waits for the lock on a piece of work.
    fn lock(&self, piece: &Piece, key: &str) -> Result<Lock, Failure> {
        const LONGEST_PAUSE: Duration = Duration::from_millis(200);
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(lock) = self.store.try_lock(key)? {
                return Ok(lock);
            }
            if pause > LONGEST_PAUSE / 4 && pause < LONGEST_PAUSE {
                self.tell(&Event::Waiting {
                    node: self.name(piece.node),
                });
            }
            self.cancel.check()?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The sink whose work a piece is, if it is one's.
    pub(super) fn sink(&self, piece: &Piece) -> Option<&dyn Sink> {
        match self.nodes[piece.node].built.operator.form() {
            Form::Sink(sink) if piece.role == Role::Task => Some(sink),
            _ => None,
        }
    }

    /// The place outside the store that a piece of work writes to, if it is a sink's: the digest of what says where, or
    /// of its whole configuration if it does not say.
    fn place(&self, piece: &Piece) -> Option<String> {
        let typed = &self.nodes[piece.node];
        let sink = self.sink(piece)?;
        Some(match sink.targets() {
            targets if targets.is_empty() => {
                digest_json(&json!({ "operator": typed.descriptor.name, "with": typed.built.cache_config }))
            }
            targets => digest_json(&json!({ "targets": targets })),
        })
    }

    /// Publishes what a piece of work came to.
    pub(super) fn publish(&self, making: Making, made: Made) -> Result<Entry, Failure> {
        let Making {
            piece,
            key,
            start,
            _lock,
            place,
        } = making;
        self.check_sources()?;
        let entry = Entry {
            key,
            content: made.content,
            metrics: made.metrics,
            report: made.report,
            seconds: start.elapsed().as_secs_f64(),
            stamps: BTreeMap::new(),
            shared: BTreeSet::new(),
        };
        self.store.publish_entry(&entry, &piece.step.explanation())?;
        if let Some((place, _)) = &place {
            self.store.end_publishing(place, &entry)?;
        }
        self.settle(&piece, &entry);
        self.share(&piece, &entry, true);
        Ok(entry)
    }

    /// The entry of a piece of work, or why there is none that can be reused.
    fn reusable(&self, piece: &Piece, key: &str) -> Result<Entry, String> {
        if let Some(reason) = self.choices.fresh.get(&piece.node) {
            return Err(reason.clone());
        }
        if self.pipeline.nodes[piece.node].settings.cache == CacheMode::Never {
            return Err("`cache: never`".to_owned());
        }
        match self.store.lookup(key) {
            Lookup::Found(entry) => self.still_there(piece, entry),
            Lookup::Absent => Err(self.reason(piece, key)),
            Lookup::Damaged(what) => {
                self.warn(&format!("{}: {what}; it is made again", self.name(piece.node)));
                Err(what)
            }
        }
    }

    /// The entry, if what an effect published still stands.
    fn still_there(&self, piece: &Piece, entry: Entry) -> Result<Entry, String> {
        let (Some(sink), Some(place)) = (self.sink(piece), self.place(piece)) else {
            return Ok(entry);
        };
        let Content::Receipt { receipt } = &entry.content else {
            return Ok(entry);
        };
        if !sink.still_published(receipt) {
            Err(format!(
                "what it published is gone or has another size: {}",
                receipt.target
            ))
        } else if !self.store.is_published(&place, &entry.key) {
            Err(format!("something else was published since: {}", receipt.target))
        } else {
            Ok(entry)
        }
    }

    /// Takes down what a node's work came to, for the record and for later runs.
    fn settle(&self, piece: &Piece, entry: &Entry) {
        if piece.role == Role::Task {
            self.note(piece.node, |work| {
                work.metrics.clone_from(&entry.metrics);
                work.report = entry.report.clone();
            });
        }
        self.note(piece.node, |work| work.keys.push(entry.key.clone()));
        if !self.plan_only {
            self.store
                .remember_node(&self.pipeline.name, &self.work_name(piece), &entry.key);
        }
    }

    /// Why there is nothing under the key of a piece of work, in words.
    fn reason(&self, piece: &Piece, key: &str) -> String {
        /// More than this is a list, not a reason.
        const SHOWN: usize = 4;
        if piece.role == Role::Facts {
            return "its expectations were not checked on this output yet".to_owned();
        }
        let Some(last) = self.store.last_key_of_node(&self.pipeline.name, &self.work_name(piece)) else {
            return "never ran".to_owned();
        };
        if last == key {
            return "artifact missing: its entry is gone".to_owned();
        }
        let Some(before) = self.store.fingerprint::<Explanation>(&last) else {
            return "what it did before is not known any more".to_owned();
        };
        let mut changes = changes(self.name(piece.node), &before, &piece.step.explanation());
        if changes.len() > SHOWN {
            let more = changes.len() - SHOWN;
            changes.truncate(SHOWN);
            changes.push(format!("and {more} more"));
        }
        changes.join(", ")
    }

    /// What has changed of a node itself since it last ran, whatever becomes of its inputs.
    pub(super) fn own_changes(&self, node: usize) -> Vec<String> {
        let typed = &self.nodes[node];
        let name = self.name(node);
        let mut changes = Vec::new();
        for role in [Role::Task, Role::Fit, Role::Rows] {
            let last = self
                .store
                .last_key_of_node(&self.pipeline.name, &format!("{name}#{}", role.word()));
            let Some(before) = last.and_then(|key| self.store.fingerprint::<Explanation>(&key)) else {
                continue;
            };
            let steps = before.origins.values().filter(|origin| origin.label == name);
            let mut own = std::iter::once(&before.fingerprint).chain(steps.filter_map(|origin| origin.step.as_ref()));
            let Some(own) = own.find(|fingerprint| fingerprint.operator == typed.descriptor.name) else {
                continue;
            };
            if own.code != typed.descriptor.code_version {
                let (operator, code) = (typed.descriptor.name, typed.descriptor.code_version);
                changes.push(format!("{operator} code {} -> {code}", own.code));
            }
            compare("with", &own.with, &typed.built.cache_config, &mut changes);
            break;
        }
        changes
    }

    fn work_name(&self, piece: &Piece) -> String {
        format!("{}#{}", self.name(piece.node), piece.role.word())
    }
}
