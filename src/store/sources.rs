//! Content digests of files outside the store, remembered so that an unchanged file costs a `stat`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Result, Store, at, digest_file, digest_json, read_json};

/// What tells a file that has not changed. The change time catches an edit that sets the modification time back.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    stamp: Stamp,
    digest: String,
}

impl Store {
    /// The content digest of an outside file; read only if the file is new or its stamp differs.
    pub fn source_digest(&self, path: &Path) -> Result<String> {
        let stamp = stamp(path)?;
        let place = path.canonicalize().map_err(at(path))?;
        let name = digest_json(&serde_json::Value::String(place.to_string_lossy().into_owned()));
        let memory = self.root.join("sources").join(name);
        if let Some(known) = read_json::<Remembered>(&memory).filter(|known| known.stamp == stamp) {
            return Ok(known.digest);
        }
        let (digest, _) = digest_file(path)?;
        self.write_json(
            &memory,
            &Remembered {
                stamp,
                digest: digest.clone(),
            },
        )?;
        Ok(digest)
    }
}

fn stamp(path: &Path) -> Result<Stamp> {
    let meta = fs::metadata(path).map_err(at(path))?;
    Ok(Stamp {
        size: meta.len(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
        inode: meta.ino(),
    })
}
