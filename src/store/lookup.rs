//! Lookup of an entry, with its blobs checked.

use std::fs;
use std::path::Path;

use crate::store::entry::{Blob, Entry};
use crate::store::stamp::Stamp;
use crate::store::{Store, digest_file};

/// The result of a lookup.
#[derive(Debug)]
pub enum Lookup {
    /// An entry with all its blobs whole.
    Found(Entry),
    /// No entry: a cache miss.
    Absent,
    /// A damaged entry, with a description of the damage. It is a cache miss too.
    Damaged(String),
}

impl Store {
    /// The entry of a key with all its blobs whole. A blob that has the stamp under which its digest was last checked is
    /// whole; any other is read and its digest compared.
    pub fn lookup(&self, key: &str) -> Lookup {
        let found = self.read_entry(key);
        match &found {
            Lookup::Found(_) => tracing::debug!(key, "cache hit"),
            Lookup::Absent => tracing::debug!(key, "cache miss"),
            Lookup::Damaged(damage) => tracing::info!(key, "cache miss: {damage}"),
        }
        found
    }

    fn read_entry(&self, key: &str) -> Lookup {
        let path = self.entry_path(key);
        let Ok(bytes) = fs::read(&path) else {
            return Lookup::Absent;
        };
        let mut entry: Entry = match serde_json::from_slice(&bytes) {
            Ok(entry) => entry,
            Err(error) => return Lookup::Damaged(format!("the entry {} is not readable: {error}", path.display())),
        };
        let mut checked = Vec::new();
        for blob in entry.blobs() {
            match self.check(blob, entry.stamps.get(&blob.digest)) {
                Ok(None) => {}
                Ok(Some(stamp)) => checked.push((blob.digest.clone(), stamp)),
                Err(what) => return Lookup::Damaged(what),
            }
        }
        if !checked.is_empty() {
            entry.stamps.extend(checked);
            self.note_json(&path, &entry);
        }
        Lookup::Found(entry)
    }

    /// Whether a blob is present and intact.
    pub(super) fn has(&self, blob: &Blob) -> bool {
        self.check(blob, None).is_ok()
    }

    /// The new stamp of a blob that had to be read, or a description of its damage.
    fn check(&self, blob: &Blob, known: Option<&Stamp>) -> Result<Option<Stamp>, String> {
        let path = self.blob_path(blob);
        let Ok(stamp) = Stamp::of(&path) else {
            return Err(format!("artifact missing: {}", self.shown(&path)));
        };
        if known == Some(&stamp) {
            return Ok(None);
        }
        if stamp.size() != blob.bytes {
            let (is, was) = (stamp.size(), blob.bytes);
            return Err(format!(
                "artifact damaged: {} has {is} bytes of {was}",
                self.shown(&path)
            ));
        }
        match digest_file(&path) {
            Ok((digest, _)) if digest == blob.digest => Ok(Some(stamp)),
            Ok(_) => Err(format!("artifact damaged: {} has other content", self.shown(&path))),
            Err(error) => Err(format!("artifact not readable: {error}")),
        }
    }

    /// A path as a person finds it: relative to the store.
    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}
