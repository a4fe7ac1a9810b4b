//! What the store holds, and what of it can go.
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

/// How much a store may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// What the last so many runs stand on is kept.
    pub runs: usize,
    /// What no run has used for this long goes.
    pub age: Duration,
    /// What is used least recently goes until the store has no more than so many bytes.
    pub bytes: u64,
}

impl Default for Bound {
    fn default() -> Self {
        Bound {
            runs: 10,
            age: Duration::from_hours(30 * 24),
            bytes: 20 << 30,
        }
    }
}

/// Written by every collection.
const COLLECTED: &str = "collected";
/// Records beyond so many runs go with the next collection.
const RECORDS: usize = 1_000;
/// Unfinished work is taken up soon or not at all.
const SCRATCH_AGE: Duration = Duration::from_hours(7 * 24);
/// On a file system without locks, what is younger may belong to a run that has not ended.
const YOUNG: Duration = Duration::from_hours(24);

/// An entry of a store, as a collection sees it.
#[derive(Debug)]
pub struct Held {
    /// The entry.
    pub entry: Entry,
    /// Its age since a run last used it.
    pub age: Duration,
    /// Whether one of the last runs stands on it.
    pub reachable: bool,
    /// The nodes that stood for it in the runs that are recorded.
    pub nodes: BTreeSet<String>,
}

/// What a store holds.
#[derive(Debug)]
pub struct Survey {
    /// The entries, the one used last first.
    pub held: Vec<Held>,
    /// Files in the place of entries that are none.
    unreadable: Vec<PathBuf>,
    /// The size of every blob, by path.
    blobs: BTreeMap<PathBuf, u64>,
}

/// What goes, or went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The keys of the entries.
    pub entries: Vec<String>,
    /// How many blobs.
    pub blobs: usize,
    /// Their size.
    pub bytes: u64,
    /// What is left.
    pub left: u64,
}

/// The part of a run record that says which entries the run stands on.
#[derive(Deserialize)]
struct Footing {
    #[serde(default)]
    pipeline: String,
    nodes: Vec<NodeFooting>,
}

impl Footing {
    /// Whether the run brought about all of its pipeline: one that failed, was interrupted or was about some nodes only
    /// does not stand for the ones before it.
    fn is_whole(&self) -> bool {
        let done = |node: &NodeFooting| !matches!(node.status.as_str(), "failed" | "skipped");
        !self.nodes.is_empty() && self.nodes.iter().all(done)
    }
}

#[derive(Deserialize)]
struct NodeFooting {
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    keys: Vec<String>,
}

/// How the recorded runs used an entry.
struct Use {
    /// How many runs of its pipeline came after the last one that stands on it; if that one was whole, how many whole ones.
    back: usize,
    /// The time since that run.
    age: Duration,
    nodes: BTreeSet<String>,
}

impl Survey {
    /// The size of all blobs.
    pub fn bytes(&self) -> u64 {
        self.blobs.values().sum()
    }

    /// How many blobs there are.
    pub fn blobs(&self) -> usize {
        self.blobs.len()
    }
}

impl Store {
    /// What the store holds; the entries of the last `runs` whole runs of each pipeline are reachable, and those of its
    /// last `runs` runs of any kind.
    pub fn survey(&self, runs: usize) -> Result<Survey> {
        let mut used = self.uses()?;
        let (mut held, mut unreadable) = (Vec::new(), Vec::new());
        for path in files_in(&self.root.join("entries"))? {
            // What cannot be read as an entry is a miss for every run, and of no use.
            let Some(entry) = read_json::<Entry>(&path) else {
                unreadable.push(path);
                continue;
            };
            let written = age_of(&path);
            let used = used.remove(&entry.key).unwrap_or(Use {
                back: usize::MAX,
                age: written,
                nodes: BTreeSet::new(),
            });
            held.push((
                used.back,
                Held {
                    age: used.age.min(written),
                    reachable: used.back < runs,
                    nodes: used.nodes,
                    entry,
                },
            ));
        }
        held.sort_by(|(a, x), (b, y)| (a, x.age, &x.entry.key).cmp(&(b, y.age, &y.entry.key)));
        let mut blobs = BTreeMap::new();
        for folder in folders_in(&self.root.join("blobs"))? {
            for path in files_in(&folder)? {
                let bytes = fs::metadata(&path).map_err(at(&path))?.len();
                blobs.insert(path, bytes);
            }
        }
        let held = held.into_iter().map(|(_, held)| held).collect();
        Ok(Survey {
            held,
            unreadable,
            blobs,
        })
    }

    /// By key, how the recorded runs used its entry.
    fn uses(&self) -> Result<BTreeMap<String, Use>> {
        let mut used: BTreeMap<String, Use> = BTreeMap::new();
        let mut later: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for id in self.runs()?.iter().rev() {
            let Some(footing) = self.run::<Footing>(id) else {
                continue;
            };
            let (all, whole) = later.entry(footing.pipeline.clone()).or_default();
            // Whole runs count those like them. The others would add up without end if no whole run ever came.
            let back = if footing.is_whole() { *whole } else { *all };
            *all += 1;
            *whole += usize::from(footing.is_whole());
            for node in footing.nodes {
                for key in node.keys {
                    let found = used.entry(key).or_insert_with(|| Use {
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

    /// Whether a collection is due: the store has grown, and beyond the bound, or nothing was collected for a day.
    pub fn is_collection_due(&self, bound: &Bound, has_grown: bool) -> Result<bool> {
        const EVERY: Duration = Duration::from_hours(24);
        let last = self.root.join(COLLECTED);
        Ok(!last.is_file() || age_of(&last) > EVERY || has_grown && self.bytes()? > bound.bytes)
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

    /// Removes what the bound does not allow; with `dry`, says only what would go.
    pub fn collect(&self, bound: &Bound, dry: bool) -> Result<Collected> {
        let alone = if dry { None } else { self.alone()? };
        let survey = self.survey(bound.runs)?;
        let gone = self.surplus(&survey, bound);
        let kept: BTreeSet<PathBuf> = survey
            .held
            .iter()
            .filter(|held| !gone.contains(held.entry.key.as_str()))
            .flat_map(|held| held.entry.blobs())
            .map(|blob| self.blob_path(blob))
            .collect();
        let orphans: Vec<(&PathBuf, &u64)> = survey
            .blobs
            .iter()
            .filter(|(path, _)| !kept.contains(*path) && (dry || alone.is_some() || age_of(path) > YOUNG))
            .collect();
        let bytes = orphans.iter().map(|(_, bytes)| **bytes).sum();
        let collected = Collected {
            entries: gone.iter().map(|key| (*key).to_owned()).collect(),
            blobs: orphans.len(),
            bytes,
            left: survey.bytes() - bytes,
        };
        if !dry {
            for key in gone {
                remove(&self.entry_path(key))?;
                remove(&self.why_path(key))?;
            }
            for (path, _) in orphans {
                remove(path)?;
            }
            for path in &survey.unreadable {
                remove(path)?;
            }
            self.sweep()?;
            let last = self.root.join(COLLECTED);
            fs::write(&last, "").map_err(at(&last))?;
        }
        Ok(collected)
    }

    /// The keys of entries that the bound does not allow.
    fn surplus<'a>(&self, survey: &'a Survey, bound: &Bound) -> BTreeSet<&'a str> {
        let mut gone = BTreeSet::new();
        let mut users: BTreeMap<&str, usize> = BTreeMap::new();
        for blob in survey.held.iter().flat_map(|held| held.entry.blobs()) {
            *users.entry(blob.digest.as_str()).or_default() += 1;
        }
        let mut bytes = survey.bytes();
        let free = survey.held.iter().rev().filter(|held| !held.reachable);
        for held in free {
            if held.age <= bound.age && bytes <= bound.bytes {
                continue;
            }
            gone.insert(held.entry.key.as_str());
            for blob in held.entry.blobs() {
                let left = users.entry(blob.digest.as_str()).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    bytes = bytes.saturating_sub(blob.bytes);
                }
            }
        }
        gone
    }

    /// Removes what is no use to anybody: old records, and unfinished work that nobody took up.
    fn sweep(&self) -> Result<()> {
        let runs = self.runs()?;
        for id in runs.iter().take(runs.len().saturating_sub(RECORDS)) {
            remove(&self.root.join("runs").join(format!("{id}.json")))?;
        }
        for folder in folders_in(&self.root.join("scratch"))? {
            if age_of(&folder) > SCRATCH_AGE {
                fs::remove_dir_all(&folder).map_err(at(&folder))?;
            }
        }
        Ok(())
    }

    /// The store for a collection alone; nothing on a file system without locks.
    fn alone(&self) -> Result<Option<StoreLock>> {
        let path = self.root.join("lock");
        match StoreLock::alone(&path) {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => Err(StoreError::InUse),
            Err(error) if cannot_lock(&error) => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Reads every blob and compares its digest, and every entry. Damaged ones are removed, so that the next run makes them
    /// again, and so are entries whose blobs are gone; their paths, relative to the store, are returned with the number of
    /// blobs.
    pub fn verify(&self) -> Result<(usize, Vec<PathBuf>)> {
        let survey = self.survey(0)?;
        let mut damaged = Vec::new();
        let inside = |path: &Path| path.strip_prefix(&self.root).unwrap_or(path).to_owned();
        let torn = survey.held.iter().filter(|held| {
            let there = |blob: &&crate::store::Blob| survey.blobs.contains_key(&self.blob_path(blob));
            !held.entry.blobs().iter().all(there)
        });
        let torn = torn.map(|held| self.entry_path(&held.entry.key));
        for path in survey.unreadable.iter().cloned().chain(torn) {
            remove(&path)?;
            damaged.push(inside(&path));
        }
        for path in survey.blobs.keys() {
            let named = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let whole = digest_file(path).is_ok_and(|(digest, _)| Some(digest) == named);
            if !whole {
                remove(path)?;
                damaged.push(inside(path));
            }
        }
        Ok((survey.blobs.len(), damaged))
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
