//! What sinks have published at their targets outside the store.
//!
//! An entry says that a sink once published something. Whether that is still what stands there is another question: a
//! run with other inputs may have published over it since, or have been killed while it did.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::store::entry::{Content, Entry};
use crate::store::stamp::Stamp;
use crate::store::{Result, Store, at, read_json};

/// The last publication of a sink with one configuration.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Published {
    /// The key of the work, or nothing while somebody publishes.
    key: Option<String>,
    /// The files as they were left, or as they were before while somebody publishes.
    files: Vec<(std::path::PathBuf, Stamp)>,
}

impl Store {
    /// Records that a sink begins to publish: until it has ended, the state of its target is unknown. `place` is a
    /// digest of the sink's operator and configuration.
    pub fn begin_publishing(&self, place: &str) -> Result<()> {
        let files = self.published(place).map(|before| before.files);
        let unknown = Published {
            key: None,
            files: files.unwrap_or_default(),
        };
        self.write_json(&self.published_path(place), &unknown)
    }

    /// Records the publication of an entry's receipt. Files of the previous publication that are not in the receipt
    /// and are unchanged since are removed, so that readers of the folder find one batch and not two.
    pub fn end_publishing(&self, place: &str, entry: &Entry) -> Result<()> {
        let Content::Receipt { receipt } = &entry.content else {
            return Ok(());
        };
        let stamped = |path: &std::path::PathBuf| Some((path.clone(), Stamp::of(path).ok()?));
        let before = self.published(place).map_or_else(Vec::new, |before| before.files);
        for (path, stamp) in before {
            let ours = Stamp::of(&path).is_ok_and(|now| now == stamp);
            if ours && !receipt.files.contains_key(&path) {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        let published = Published {
            key: Some(entry.key.clone()),
            files: receipt.files.keys().filter_map(stamped).collect(),
        };
        self.write_json(&self.published_path(place), &published)
    }

    /// Whether the target still has the publication of this key, with its files unchanged.
    pub fn is_published(&self, place: &str, key: &str) -> bool {
        self.published(place).is_some_and(|published| {
            let untouched =
                |(path, stamp): &(std::path::PathBuf, Stamp)| Stamp::of(path).is_ok_and(|now| now == *stamp);
            published.key.as_deref() == Some(key) && published.files.iter().all(untouched)
        })
    }

    fn published(&self, place: &str) -> Option<Published> {
        read_json(&self.published_path(place))
    }

    fn published_path(&self, place: &str) -> std::path::PathBuf {
        self.root.join("published").join(format!("{place}.json"))
    }
}
