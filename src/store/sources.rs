//! Content digests of files outside the store, remembered so that an unchanged file costs a `stat`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::stamp::Stamp;
use crate::store::{Result, Store, StoreError, at, digest_file, digest_json, read_json};

/// An outside file as it was when its digest was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// The path.
    pub path: PathBuf,
    /// BLAKE3 of its content, in hex.
    pub digest: String,
    stamp: Stamp,
}

impl SourceFile {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.stamp.size()
    }

    /// An error if the file is not what it was when its digest was taken.
    pub fn check(&self) -> Result<()> {
        if Stamp::of(&self.path).map_err(at(&self.path))? == self.stamp {
            Ok(())
        } else {
            let path = self.path.clone();
            Err(StoreError::SourceChanged { path })
        }
    }
}

impl Store {
    /// An outside file with its content digest; read only if the file is new or its stamp differs.
    pub fn source(&self, path: &Path) -> Result<SourceFile> {
        let stamp = Stamp::of(path).map_err(at(path))?;
        let place = path.canonicalize().map_err(at(path))?;
        let name = digest_json(&serde_json::Value::String(place.to_string_lossy().into_owned()));
        let memory = self.root.join("sources").join(name);
        if let Some(known) = read_json::<SourceFile>(&memory).filter(|known| known.stamp == stamp) {
            let path = path.to_owned();
            return Ok(SourceFile { path, ..known });
        }
        let (digest, _) = digest_file(path)?;
        let source = SourceFile {
            path: path.to_owned(),
            digest,
            stamp,
        };
        source.check()?;
        if stamp.is_settled() {
            self.note_json(&memory, &source);
        }
        Ok(source)
    }
}
