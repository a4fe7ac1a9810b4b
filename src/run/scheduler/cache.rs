//! Taking a work item on, and publishing what it came to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use towline_api::{OperatorError, Report, Vocabulary};

use crate::plan::{CacheState, compare};
use crate::run::events::Event;
use crate::run::execute::{Produced, Stop, WorkOutput};
use crate::run::failure::Failure;
use crate::run::lookup::Lookups;
use crate::run::resolve::Resolver;
use crate::run::scheduler::log::SharedLog;
use crate::run::scheduler::uploads::Uploads;
use crate::run::work::WorkItem;
use crate::store::{Blob, Content, Entry, FetchScope, Lock, Store, StoredSplit};

/// What has to happen for a work item.
pub(super) enum CacheDecision {
    /// Nothing: its entry is there.
    Hit(Entry),
    /// It has to be made.
    Miss(InProgress),
}

/// A work item that is being made. It is locked: no other run makes it meanwhile.
pub(super) struct InProgress {
    pub(super) item: WorkItem,
    key: String,
    start: Instant,
    _lock: Lock,
    /// For sinks, the place, with a lock: no other run publishes to it meanwhile.
    place: Option<(String, Lock)>,
}

/// What was produced, with its files in the store.
pub(super) struct StoredOutput {
    content: Content,
    metrics: BTreeMap<String, f64>,
    report: Report,
}

impl StoredOutput {
    /// An error that names what differs, if the same work came to something else.
    pub(super) fn compare(&self, again: &StoredOutput) -> Result<(), OperatorError> {
        let whole = |output: &StoredOutput| json!({ "content": output.content, "metrics": output.metrics });
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

/// The store as the scheduler's jobs use it.
pub(super) struct WorkCache {
    pub(super) resolver: Resolver,
    pub(super) lookups: Lookups,
    pub(super) uploads: Uploads,
}

impl WorkCache {
    pub(super) fn store(&self) -> &Store {
        &self.lookups.store
    }

    fn name(&self, item: &WorkItem) -> &str {
        &self.resolver.graph[item.node].name
    }

    /// The entry of a work item, or the right to make it. Work that another run is doing is waited for, and then shared.
    pub(super) fn acquire(&self, item: WorkItem, stop: &Stop, log: &SharedLog) -> Result<CacheDecision, Failure> {
        let key = item.key();
        let mut missing = match self.lookups.local(&item, &key) {
            Ok(entry) => return Ok(self.hit(&item, entry, false, log)),
            Err(missing) => missing,
        };
        let lock = self.lock(&item, &key, stop)?;
        // Whoever holds the lock on a place waits for no other.
        let place = match self.lookups.place(&item) {
            Some(place) => {
                let lock = self.lock(&item, &format!("place-{place}"), stop)?;
                Some((place, lock))
            }
            None => None,
        };
        match self.lookups.local(&item, &key) {
            Ok(entry) => return Ok(self.hit(&item, entry, false, log)),
            Err(still) if still.is_loss() => missing = still,
            Err(_) => {}
        }
        if let Some(entry) = self.lookups.fetch_shared(&item, &key, FetchScope::Full) {
            return Ok(self.hit(&item, entry, true, log));
        }
        log.note(|log| log.states.push(missing));
        if let Some((place, _)) = &place {
            self.store().begin_publishing(place)?;
        }
        Ok(CacheDecision::Miss(InProgress {
            item,
            key,
            start: Instant::now(),
            _lock: lock,
            place,
        }))
    }

    fn hit(&self, item: &WorkItem, entry: Entry, from_shared: bool, log: &SharedLog) -> CacheDecision {
        log.note(|log| log.states.push(CacheState::Found { from_shared }));
        self.note(item, &entry, log);
        let fetched = log.note(|log| log.fetched());
        self.uploads.offer(&self.lookups, item, &entry, fetched);
        CacheDecision::Hit(entry)
    }

    /// Waits for the lock on a work item. Locks are files that other processes hold: they can only be asked for again.
    fn lock(&self, item: &WorkItem, key: &str, stop: &Stop) -> Result<Lock, Failure> {
        const LONGEST_PAUSE: Duration = Duration::from_millis(200);
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(lock) = self.store().try_lock(key)? {
                return Ok(lock);
            }
            if pause > LONGEST_PAUSE / 4 && pause < LONGEST_PAUSE {
                let node = self.name(item).to_owned();
                self.lookups.events.emit(&Event::Waiting { node });
            }
            stop.check()?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Moves what was produced into the store. It has no name there yet.
    pub(super) fn store_output(&self, output: WorkOutput) -> Result<StoredOutput, Failure> {
        let content = match output.produced {
            Produced::Dataset {
                schema,
                splits,
                vocabularies,
            } => {
                let mut stored = Vec::new();
                for (name, file) in splits {
                    let blob = self.store().publish_blob(&file.path, "parquet")?;
                    let rows = file.rows;
                    stored.push(StoredSplit { name, blob, rows });
                }
                Content::Dataset {
                    schema,
                    splits: stored,
                    vocabularies: blobs_of(&vocabularies)?,
                }
            }
            Produced::State { tables, facts } => Content::State {
                tables: self.store_files(tables)?,
                facts,
            },
            Produced::Model {
                model_type,
                description,
                files,
                vocabularies,
            } => Content::Model {
                model_type,
                description,
                files: self.store_files(files)?,
                vocabularies: blobs_of(&vocabularies)?,
            },
            Produced::Metrics => Content::Metrics,
            Produced::Receipt(receipt) => Content::Receipt { receipt },
        };
        Ok(StoredOutput {
            content,
            metrics: output.metrics,
            report: output.report,
        })
    }

    fn store_files(&self, files: BTreeMap<String, PathBuf>) -> Result<BTreeMap<String, Blob>, Failure> {
        files
            .into_iter()
            .map(|(name, path)| {
                let extension = path
                    .extension()
                    .map_or_else(|| "bin".to_owned(), |e| e.to_string_lossy().into_owned());
                Ok((name, self.store().publish_blob(&path, &extension)?))
            })
            .collect()
    }

    /// Publishes the entry of a work item.
    pub(super) fn publish(&self, done: InProgress, output: StoredOutput, log: &SharedLog) -> Result<Entry, Failure> {
        let InProgress {
            item,
            key,
            start,
            _lock,
            place,
        } = done;
        self.resolver.check_sources()?;
        let entry = Entry {
            key,
            content: output.content,
            metrics: output.metrics,
            report: output.report,
            seconds: start.elapsed().as_secs_f64(),
            stamps: BTreeMap::new(),
            shared: BTreeSet::new(),
        };
        self.store().publish_entry(&entry, &item.step.explanation())?;
        if let Some((place, _)) = &place {
            self.store().end_publishing(place, &entry)?;
        }
        self.note(&item, &entry, log);
        self.uploads.give(&self.lookups, &item, &entry);
        Ok(entry)
    }

    /// Notes what a work item came to, for the record and for later runs.
    fn note(&self, item: &WorkItem, entry: &Entry, log: &SharedLog) {
        log.note(|log| log.entry(item, entry));
        let work = item.role.of_node(self.name(item));
        self.store()
            .remember_node(self.resolver.graph.name(), &work, &entry.key);
    }
}

/// The blobs of vocabularies that lie in the store already.
fn blobs_of(vocabularies: &BTreeMap<String, Vocabulary>) -> Result<Vec<Blob>, Failure> {
    let mut out = Vec::new();
    for (digest, vocabulary) in vocabularies {
        let path = vocabulary.path();
        let bytes = std::fs::metadata(path).map_err(OperatorError::io(path))?.len();
        out.push(Blob {
            digest: digest.clone(),
            bytes,
            extension: "parquet".to_owned(),
        });
    }
    Ok(out)
}
