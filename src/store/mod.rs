//! What nodes produced, under content digests: published by rename, manifest last.
//!
//! ```text
//! blobs/ab/abcd....parquet   file contents, named by their BLAKE3 digest
//! entries/<key>.json         what a key produced; written after its blobs
//! nodes/<pipeline>/<node>    the entry that a node last produced or reused
//! sources/<digest>           content digests of outside files, by (path, size, mtime, inode)
//! runs/<id>.json             run records
//! tmp/                       unfinished work
//! ```

mod entry;
mod sources;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

pub use entry::{Blob, Content, Entry, StoredSplit};

/// A failure of the store itself.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder of the store could not be read or written.
    #[error("the store cannot use {}: {source}{}", path.display(), advice(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => ". Free some space and run again: what is finished is kept",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ". Choose a folder that can be written with --store"
        }
        _ => "",
    }
}

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

/// A store in a folder.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store in `root`, and makes it if there is none.
    pub fn open(root: &Path) -> Result<Self> {
        for folder in ["blobs", "entries", "nodes", "sources", "runs", "tmp"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        let root = root.canonicalize().map_err(at(root))?;
        Ok(Store { root })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A new folder for unfinished work, on the file system of the store; gone when dropped.
    pub fn temp_dir(&self) -> Result<TempDir> {
        let parent = self.root.join("tmp");
        TempDir::new_in(&parent).map_err(at(&parent))
    }

    /// Moves a finished file into the store, under the digest of its content. `extension` is kept in the name.
    pub fn publish_blob(&self, file: &Path, extension: &str) -> Result<Blob> {
        let (digest, bytes) = digest_file(file)?;
        let blob = Blob {
            digest,
            bytes,
            extension: extension.to_owned(),
        };
        let target = self.blob_path(&blob);
        let folder = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(at(folder))?;
        File::open(file).and_then(|f| f.sync_all()).map_err(at(file))?;
        fs::rename(file, &target).map_err(at(&target))?;
        sync_folder(folder)?;
        Ok(blob)
    }

    /// Where a blob lies.
    pub fn blob_path(&self, blob: &Blob) -> PathBuf {
        let prefix = blob.digest.get(..2).unwrap_or("00");
        self.root
            .join("blobs")
            .join(prefix)
            .join(format!("{}.{}", blob.digest, blob.extension))
    }

    /// The entry of a key, if it is there with all its blobs whole: a missing or cut blob is a miss, never an error.
    pub fn entry(&self, key: &str) -> Option<Entry> {
        let entry: Entry = read_json(&self.root.join("entries").join(format!("{key}.json")))?;
        let whole = |blob: &Blob| fs::metadata(self.blob_path(blob)).is_ok_and(|meta| meta.len() == blob.bytes);
        entry.blobs().into_iter().all(whole).then_some(entry)
    }

    /// Publishes an entry whose blobs are published already.
    pub fn publish_entry(&self, entry: &Entry) -> Result<()> {
        self.write_json(&self.root.join("entries").join(format!("{}.json", entry.key)), entry)
    }

    /// Notes that a node of a pipeline stands for this entry now.
    pub fn remember_node(&self, pipeline: &str, node: &str, entry: &Entry) -> Result<()> {
        let folder = self.root.join("nodes").join(file_name(pipeline));
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let path = folder.join(format!("{}.json", file_name(node)));
        // Writing and syncing what is there already would be most of the time of a run that has nothing to do.
        if read_json::<String>(&path).is_some_and(|key| key == entry.key) {
            return Ok(());
        }
        self.write_json(&path, &entry.key)
    }

    /// The entry that a node stood for when it last ran or was reused.
    pub fn last_of_node(&self, pipeline: &str, node: &str) -> Option<Entry> {
        let folder = self.root.join("nodes").join(file_name(pipeline));
        let key: String = read_json(&folder.join(format!("{}.json", file_name(node))))?;
        self.entry(&key)
    }

    /// Writes a run record and returns its path.
    pub fn write_run(&self, id: &str, record: &impl Serialize) -> Result<PathBuf> {
        let path = self.root.join("runs").join(format!("{id}.json"));
        self.write_json(&path, record)?;
        Ok(path)
    }

    fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let parent = self.root.join("tmp");
        let mut file = tempfile::NamedTempFile::new_in(&parent).map_err(at(&parent))?;
        let bytes = serde_json::to_vec_pretty(value).map_err(|error| at(path)(error.into()))?;
        file.write_all(&bytes)
            .and_then(|()| file.as_file().sync_all())
            .map_err(at(path))?;
        file.persist(path).map_err(|error| at(path)(error.error))?;
        sync_folder(path.parent().unwrap_or(&self.root))
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// A rename is durable once its folder is.
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(at(folder))
}

/// BLAKE3 of a file's content in hex, and its length.
pub fn digest_file(path: &Path) -> Result<(String, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).map_err(at(path))?;
    let bytes = io::copy(&mut file, &mut hasher).map_err(at(path))?;
    Ok((hasher.finalize().to_hex().to_string(), bytes))
}

/// BLAKE3 of a JSON value in hex. Objects are ordered by key, so equal values have equal digests.
pub fn digest_json(value: &serde_json::Value) -> String {
    blake3::hash(value.to_string().as_bytes()).to_hex().to_string()
}

/// A name of the user's as a file name: everything that a file system could object to is written as hex.
fn file_name(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}
