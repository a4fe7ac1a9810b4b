//! Checkpoints: unfinished work that outlives a run, one folder per key, removed when the work of the key is published.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::store::{Result, Store, at};

/// The folder for unfinished work of a key; it need not exist.
#[derive(Debug, Clone)]
pub struct Scratch(PathBuf);

impl Store {
    /// The folder for unfinished work of a key.
    pub fn scratch(&self, key: &str) -> Scratch {
        Scratch(self.root.join("scratch").join(key))
    }
}

impl Scratch {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes the folder.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&self.0)(error)),
            _ => Ok(()),
        }
    }
}
