//! Unfinished work that outlives a run: one folder per key, removed when the work of the key is published.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::store::{Result, Store, at};

/// Where the unfinished work of a key is kept; it need not exist.
#[derive(Debug, Clone)]
pub struct Scratch(PathBuf);

impl Store {
    /// Where the unfinished work of a key is kept.
    pub fn scratch(&self, key: &str) -> Scratch {
        Scratch(self.root.join("scratch").join(key))
    }
}

impl Scratch {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes what is kept.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&self.0)(error)),
            _ => Ok(()),
        }
    }
}
