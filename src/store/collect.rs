//! Contents of the store, and garbage collection.
//!
//! Entries that the last runs stand on are kept, whatever else is said. Of the others those that were not used for long
//! go, and then the oldest until the store is small enough. An entry goes before its blobs: a collection that is killed
//! leaves blobs without entries, which the next one removes, and never an entry without its blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::store::entry::Entry;
use crate::store::lock::{StoreLock, cannot_lock};
use crate::store::{Result, Store, StoreError, at, digest_file, read_json};

/// The retention policy of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// The artifacts of this many last runs are kept.
    pub runs: usize,
    /// Entries that no run has used for this long are removed.
    pub age: Duration,
    /// The least recently used entries are removed until the store has at most this many bytes.
    pub bytes: u64,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        RetentionPolicy {
            runs: 10,
            age: Duration::from_hours(30 * 24),
            bytes: 20 << 30,
        }
    }
}

/// Written by every collection.
const COLLECTION_MARK: &str = "collected";
/// Maximum number of run records; collection removes older ones.
const MAX_RUN_RECORDS: usize = 1_000;
/// Unfinished work that is older is removed.
const MAX_SCRATCH_AGE: Duration = Duration::from_hours(7 * 24);
/// On a file system without locks, younger blobs without an entry may belong to a run that has not ended.
const MIN_ORPHAN_AGE: Duration = Duration::from_hours(24);

/// An entry with its usage.
#[derive(Debug)]
pub struct StoredEntry {
    /// The entry.
    pub entry: Entry,
    /// Its age since a run last used it.
    pub age: Duration,
    /// Whether one of the last runs uses it.
    pub reachable: bool,
    /// The nodes that stood for it in the runs that are recorded.
    pub nodes: BTreeSet<String>,
}

/// The contents of a store.
#[derive(Debug)]
pub struct StoreContents {
    /// The entries, the one used last first.
    pub entries: Vec<StoredEntry>,
    /// Files in the place of entries that are none.
    unreadable: Vec<PathBuf>,
    /// The size of every blob, by path.
    blobs: BTreeMap<PathBuf, u64>,
}

/// The removed entries and blobs, or those that would be removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CollectionReport {
    /// The keys of the entries.
    pub entries: Vec<String>,
    /// The number of blobs.
    pub blobs: usize,
    /// Their size.
    pub bytes: u64,
    /// The bytes that are left.
    pub left: u64,
}

/// The part of a run record that lists the entries of the run.
#[derive(Deserialize)]
struct RunReferences {
    #[serde(default)]
    pipeline: String,
    nodes: Vec<NodeReferences>,
}

impl RunReferences {
    /// Whether the run completed all of its pipeline: one that failed, was interrupted or ran some nodes only
    /// does not stand for the ones before it.
    fn is_whole(&self) -> bool {
        let done = |node: &NodeReferences| !matches!(node.status.as_str(), "failed" | "skipped");
        !self.nodes.is_empty() && self.nodes.iter().all(done)
    }
}

#[derive(Deserialize)]
struct NodeReferences {
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    keys: Vec<String>,
}

/// The usage of an entry by the recorded runs.
struct EntryUse {
    /// The number of later runs of its pipeline since the last one that uses it; if that one was complete, of complete runs.
    back: usize,
    /// The time since that run.
    age: Duration,
    nodes: BTreeSet<String>,
}

impl StoreContents {
    /// The size of all blobs.
    pub fn bytes(&self) -> u64 {
        self.blobs.values().sum()
    }

    /// The number of blobs.
    pub fn blobs(&self) -> usize {
        self.blobs.len()
    }
}

impl Store {
    /// The contents of the store; the entries of the last `runs` complete runs of each pipeline are reachable, and of its
    /// last `runs` runs of any kind.
    pub fn contents(&self, runs: usize) -> Result<StoreContents> {
        let mut used = self.uses()?;
        let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
        for path in files_in(&self.root.join("entries"))? {
            // What cannot be read as an entry is a miss for every run, and of no use.
            let Some(entry) = read_json::<Entry>(&path) else {
                unreadable.push(path);
                continue;
            };
            let written = age_of(&path);
            let used = used.remove(&entry.key).unwrap_or(EntryUse {
                back: usize::MAX,
                age: written,
                nodes: BTreeSet::new(),
            });
            entries.push((
                used.back,
                StoredEntry {
                    age: used.age.min(written),
                    reachable: used.back < runs,
                    nodes: used.nodes,
                    entry,
                },
            ));
        }
        entries.sort_by(|(a, x), (b, y)| (a, x.age, &x.entry.key).cmp(&(b, y.age, &y.entry.key)));
        let mut blobs = BTreeMap::new();
        for folder in folders_in(&self.root.join("blobs"))? {
            for path in files_in(&folder)? {
                let bytes = fs::metadata(&path).map_err(at(&path))?.len();
                blobs.insert(path, bytes);
            }
        }
        let entries = entries.into_iter().map(|(_, entries)| entries).collect();
        Ok(StoreContents {
            entries,
            unreadable,
            blobs,
        })
    }

    /// The usage of entries by the recorded runs, by key.
    fn uses(&self) -> Result<BTreeMap<String, EntryUse>> {
        let mut used: BTreeMap<String, EntryUse> = BTreeMap::new();
        let mut later: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for id in self.runs()?.iter().rev() {
            let Some(references) = self.run::<RunReferences>(id) else {
                continue;
            };
            let (all, whole) = later.entry(references.pipeline.clone()).or_default();
            // Whole runs count those like them. The others would add up without end if no whole run ever came.
            let back = if references.is_whole() { *whole } else { *all };
            *all += 1;
            *whole += usize::from(references.is_whole());
            for node in references.nodes {
                for key in node.keys {
                    let found = used.entry(key).or_insert_with(|| EntryUse {
                        back,
                        age: since(id),
                        nodes: BTreeSet::new(),
                    });
                    found.back = found.back.min(back);
                    found.nodes.insert(node.name.clone());
                }
            }
        }
        Ok(used)
    }

    /// Whether a collection is due: the store has grown, and beyond the policy, or nothing was collected for a day.
    pub fn is_collection_due(&self, policy: &RetentionPolicy, has_grown: bool) -> Result<bool> {
        const EVERY: Duration = Duration::from_hours(24);
        let last = self.root.join(COLLECTION_MARK);
        Ok(!last.is_file() || age_of(&last) > EVERY || has_grown && self.bytes()? > policy.bytes)
    }

    /// The size of all blobs, without looking at what stands on them.
    pub fn bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for folder in folders_in(&self.root.join("blobs"))? {
            for path in files_in(&folder)? {
                bytes += fs::metadata(&path).map_err(at(&path))?.len();
            }
        }
        Ok(bytes)
    }

    /// Removes what the policy does not allow; with `dry`, only reports what would be removed.
    pub fn collect(&self, policy: &RetentionPolicy, dry: bool) -> Result<CollectionReport> {
        let exclusive = if dry { None } else { self.exclusive()? };
        let contents = self.contents(policy.runs)?;
        let removed = self.removable(&contents, policy);
        let kept: BTreeSet<PathBuf> = contents
            .entries
            .iter()
            .filter(|entries| !removed.contains(entries.entry.key.as_str()))
            .flat_map(|entries| entries.entry.blobs())
            .map(|blob| self.blob_path(blob))
            .collect();
        let orphans: Vec<(&PathBuf, &u64)> = contents
            .blobs
            .iter()
            .filter(|(path, _)| !kept.contains(*path) && (dry || exclusive.is_some() || age_of(path) > MIN_ORPHAN_AGE))
            .collect();
        let bytes = orphans.iter().map(|(_, bytes)| **bytes).sum();
        let collected = CollectionReport {
            entries: removed.iter().map(|key| (*key).to_owned()).collect(),
            blobs: orphans.len(),
            bytes,
            left: contents.bytes() - bytes,
        };
        tracing::info!(
            entries = collected.entries.len(),
            blobs = collected.blobs,
            bytes = collected.bytes,
            dry,
            "collecting the store"
        );
        if !dry {
            for key in removed {
                remove(&self.entry_path(key))?;
                remove(&self.fingerprint_path(key))?;
            }
            for (path, _) in orphans {
                remove(path)?;
            }
            for path in &contents.unreadable {
                remove(path)?;
            }
            self.remove_leftovers()?;
            let last = self.root.join(COLLECTION_MARK);
            fs::write(&last, "").map_err(at(&last))?;
        }
        Ok(collected)
    }

    /// The keys of entries to remove.
    fn removable<'a>(&self, contents: &'a StoreContents, policy: &RetentionPolicy) -> BTreeSet<&'a str> {
        let mut removed = BTreeSet::new();
        let mut users: BTreeMap<&str, usize> = BTreeMap::new();
        for blob in contents.entries.iter().flat_map(|entries| entries.entry.blobs()) {
            *users.entry(blob.digest.as_str()).or_default() += 1;
        }
        let mut bytes = contents.bytes();
        let free = contents.entries.iter().rev().filter(|entries| !entries.reachable);
        for entries in free {
            if entries.age <= policy.age && bytes <= policy.bytes {
                continue;
            }
            removed.insert(entries.entry.key.as_str());
            for blob in entries.entry.blobs() {
                let left = users.entry(blob.digest.as_str()).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    bytes = bytes.saturating_sub(blob.bytes);
                }
            }
        }
        removed
    }

    /// Removes old run records and abandoned unfinished work.
    fn remove_leftovers(&self) -> Result<()> {
        let runs = self.runs()?;
        for id in runs.iter().take(runs.len().saturating_sub(MAX_RUN_RECORDS)) {
            remove(&self.root.join("runs").join(format!("{id}.json")))?;
        }
        for folder in folders_in(&self.root.join("scratch"))? {
            if age_of(&folder) > MAX_SCRATCH_AGE {
                fs::remove_dir_all(&folder).map_err(at(&folder))?;
            }
        }
        Ok(())
    }

    /// The exclusive lock on the store; `None` on a file system without locks.
    fn exclusive(&self) -> Result<Option<StoreLock>> {
        let path = self.root.join("lock");
        match StoreLock::exclusive(&path) {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => Err(StoreError::InUse),
            Err(error) if cannot_lock(&error) => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Reads every blob and compares its digest, and every entry. Damaged ones are removed, so that the next run makes them
    /// again, and so are entries whose blobs are removed; their paths, relative to the store, are returned with the number of
    /// blobs.
    pub fn verify(&self) -> Result<(usize, Vec<PathBuf>)> {
        let contents = self.contents(0)?;
        let mut damaged = Vec::new();
        let inside = |path: &Path| path.strip_prefix(&self.root).unwrap_or(path).to_owned();
        let incomplete = contents.entries.iter().filter(|entries| {
            let there = |blob: &&crate::store::Blob| contents.blobs.contains_key(&self.blob_path(blob));
            !entries.entry.blobs().iter().all(there)
        });
        let incomplete = incomplete.map(|entries| self.entry_path(&entries.entry.key));
        for path in contents.unreadable.iter().cloned().chain(incomplete) {
            remove(&path)?;
            damaged.push(inside(&path));
        }
        for path in contents.blobs.keys() {
            let named = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let whole = digest_file(path).is_ok_and(|(digest, _)| Some(digest) == named);
            if !whole {
                remove(path)?;
                damaged.push(inside(path));
            }
        }
        Ok((contents.blobs.len(), damaged))
    }
}

/// The time since a run began, by its id: microseconds since 1970.
fn since(run: &str) -> Duration {
    let began = Duration::from_micros(run.parse().unwrap_or(u64::MAX));
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(began)
}

fn age_of(path: &Path) -> Duration {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    // What lies in the future because a clock was set back is young.
    modified
        .ok()
        .and_then(|time| SystemTime::now().duration_since(time).ok())
        .unwrap_or_default()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(list(folder)?.into_iter().filter(|path| path.is_file()).collect())
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(list(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        paths.push(entry.map_err(at(folder))?.path());
    }
    paths.sort();
    Ok(paths)
}
