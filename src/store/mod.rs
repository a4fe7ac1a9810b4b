//! The content-addressed store of artifacts: published by rename, manifest last.
//!
//! ```text
//! blobs/ab/abcd....parquet   file contents, named by their BLAKE3 digest
//! why/<key>.json             fingerprints: the hashed parts of a key, with provenance (stores of 0.1 have this name)
//! entries/<key>.json         the result of a key: its manifest, written last
//! nodes/<pipeline>/<node>    the entry that a node last produced or reused
//! sources/<digest>           content digests of outside files, by (path, size, mtime, inode, ctime)
//! runs/<id>.json             run records
//! published/<place>.json     what sinks have published at their targets
//! locks/<key>                held while the work of a key is done
//! scratch/<key>/             unfinished work that can be taken up
//! tmp/                       unfinished work that cannot
//! secret.key                 key of the digests of values that may be secrets
//! lock                       shared by runs, exclusive for collection
//! ```

mod collect;
mod entry;
mod lock;
mod lookup;
pub(crate) mod metrics;
mod published;
mod runs;
mod scratch;
mod secret_digest;
mod shared;
mod sources;
mod stamp;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use towline_api::{State, StateTable, Vocabulary};

pub use collect::{CollectionReport, RetentionPolicy, StoreContents, StoredEntry};
pub use entry::{Blob, Content, Entry, StoredSplit};
pub use lock::{Lock, StoreLock};
pub use lookup::Lookup;
pub use scratch::Scratch;
pub use shared::{Address, FetchScope, SharedError, SharedStore};
pub use sources::SourceFile;
pub use stamp::Stamp;

/// A failure of the store itself.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder of the store could not be read or written.
    #[error("the store cannot use {}: {source}{}", path.display(), advice(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file outside the store changed while a node read it: what was made of it belongs to neither state.
    #[error(
        "{} changed while it was read; nothing made of it was stored. Run again when nothing writes to it",
        path.display()
    )]
    SourceChanged {
        /// The file.
        path: PathBuf,
    },
    /// The folder has other files, which a store would remove.
    #[error(
        "{} is not a store: it contains other files. Name a folder that is empty, or is not there yet, with --store",
        path.display()
    )]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// The store is in use by a run and cannot be collected.
    #[error("a run uses the store: try again when it has ended")]
    InUse,
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

/// Marks a folder as a store, and as one that backups need not keep.
const TAG: &str = "CACHEDIR.TAG";
/// The first line is that of every such file (Cache Directory Tagging Specification 0.6).
const TAG_TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# A store of Towline: `towline cache gc` removes from it what is not needed.\n";

/// Whether a folder is a store: it has the tag, or the folders of a store from before there were tags.
fn is_store(root: &Path) -> Result<bool> {
    let tag = root.join(TAG);
    let earlier = || {
        ["blobs", "entries", "why", "nodes"]
            .iter()
            .all(|name| root.join(name).is_dir())
    };
    Ok(tag.try_exists().map_err(at(&tag))? || earlier())
}

const FOLDERS: [&str; 10] = [
    "blobs",
    "why",
    "entries",
    "nodes",
    "sources",
    "runs",
    "published",
    "locks",
    "scratch",
    "tmp",
];

/// A store in a folder, and beside it one that is shared with others, if there is one.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    shared: Option<Arc<SharedStore>>,
}

impl Store {
    /// Opens the store in `root`, and makes it if there is none.
    ///
    /// # Errors
    /// In a folder that holds anything else: nothing of the user's may ever be collected.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).map_err(at(root))?;
        if !is_store(root)? {
            if fs::read_dir(root).map_err(at(root))?.next().is_some() && !is_store(root)? {
                return Err(StoreError::NotAStore { path: root.to_owned() });
            }
            // First of all, so that a store that is being made is known as one.
            let tag = root.join(TAG);
            fs::write(&tag, TAG_TEXT).map_err(at(&tag))?;
        }
        for folder in FOLDERS {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        let root = root.canonicalize().map_err(at(root))?;
        Ok(Store { root, shared: None })
    }

    /// Opens the store in `root` if there is one; a folder that is none is left as it is.
    pub fn existing(root: &Path) -> Result<Option<Self>> {
        match fs::metadata(root) {
            Ok(_) if is_store(root)? => Store::open(root).map(Some),
            _ => Ok(None),
        }
    }

    /// The same store beside one that is shared with others.
    #[must_use]
    pub fn beside(mut self, shared: Arc<SharedStore>) -> Self {
        self.shared = Some(shared);
        self
    }

    /// The store that is shared with others.
    pub fn shared(&self) -> Option<&Arc<SharedStore>> {
        self.shared.as_ref()
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes part in the use of the store: while this is held, nothing is collected. What a run that was killed left
    /// unfinished, and its locks, are removed if no other run uses the store.
    pub fn lock_shared(&self) -> Result<StoreLock> {
        let path = self.root.join("lock");
        if let Ok(Some(_exclusive)) = StoreLock::exclusive(&path) {
            for folder in ["tmp", "locks"].map(|name| self.root.join(name)) {
                for left in fs::read_dir(&folder).map_err(at(&folder))?.flatten() {
                    // What cannot be removed wastes space and nothing else.
                    let _ = fs::remove_dir_all(left.path()).or_else(|_| fs::remove_file(left.path()));
                }
            }
        }
        StoreLock::shared(&path).map_err(at(&path))
    }

    /// The lock on the work of a key, or `None` while another run does it.
    pub fn try_lock(&self, key: &str) -> Result<Option<Lock>> {
        let path = self.root.join("locks").join(key);
        let lock = Lock::try_take(&path).map_err(at(&path))?;
        tracing::trace!(key, taken = lock.is_some(), "lock");
        Ok(lock)
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
        self.place_blob(file, &blob)?;
        Ok(blob)
    }

    /// Moves a file into the store whose content is that of the blob.
    fn place_blob(&self, file: &Path, blob: &Blob) -> Result<()> {
        let target = self.blob_path(blob);
        let folder = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(at(folder))?;
        seal(file).map_err(at(file))?;
        fs::rename(file, &target).map_err(at(&target))?;
        sync_folder(folder)
    }

    /// The path of a blob.
    pub fn blob_path(&self, blob: &Blob) -> PathBuf {
        let prefix = blob.digest.get(..2).unwrap_or("00");
        self.root
            .join("blobs")
            .join(prefix)
            .join(format!("{}.{}", blob.digest, blob.extension))
    }

    /// Publishes an entry whose blobs are published already, with the fingerprint of its key.
    pub fn publish_entry(&self, entry: &Entry, fingerprint: &impl Serialize) -> Result<()> {
        let mut entry = entry.clone();
        let mut stamps = BTreeMap::new();
        for blob in entry.blobs() {
            let path = self.blob_path(blob);
            let stamp = Stamp::of(&path).map_err(at(&path))?;
            stamps.insert(blob.digest.clone(), stamp);
        }
        let blobs = stamps.len();
        entry.stamps = stamps;
        tracing::debug!(key = entry.key, blobs, "publishing an entry");
        self.write_json(&self.fingerprint_path(&entry.key), fingerprint)?;
        self.write_json(&self.entry_path(&entry.key), &entry)
    }

    /// Notes that a shared store has an entry. If that is lost it is found out again.
    fn note_shared(&self, entry: &Entry, mark: &str) {
        // Another run may have published the entry anew meanwhile: only what is there now is amended.
        let path = self.entry_path(&entry.key);
        if let Some(mut entry) = read_json::<Entry>(&path)
            && entry.shared.insert(mark.to_owned())
        {
            self.note_json(&path, &entry);
        }
    }

    /// The fingerprint of a key: its hashed parts, with provenance.
    pub fn fingerprint<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        read_json(&self.fingerprint_path(key))
    }

    fn entry_path(&self, key: &str) -> PathBuf {
        self.root.join("entries").join(format!("{key}.json"))
    }

    fn fingerprint_path(&self, key: &str) -> PathBuf {
        self.root.join("why").join(format!("{key}.json"))
    }

    /// Notes that a node of a pipeline stands for this key now. Only reasons and `show` read this memory: what cannot be
    /// written is forgotten.
    pub fn remember_node(&self, pipeline: &str, node: &str, key: &str) {
        let path = self.node_path(pipeline, node);
        // Writing what is there already would be most of the time of a run that has nothing to do.
        if self.last_key_of_node(pipeline, node).as_deref() != Some(key) {
            self.note_json(&path, &key);
        }
    }

    /// The key that a node stood for when it last ran or was reused.
    pub fn last_key_of_node(&self, pipeline: &str, node: &str) -> Option<String> {
        read_json(&self.node_path(pipeline, node))
    }

    /// The entry that a node stood for when it last ran or was reused, if it is still whole.
    pub fn last_of_node(&self, pipeline: &str, node: &str) -> Option<Entry> {
        match self.lookup(&self.last_key_of_node(pipeline, node)?) {
            Lookup::Found(entry) => Some(entry),
            Lookup::Absent | Lookup::Damaged(_) => None,
        }
    }

    /// The state of a fit, as operators see it; empty if the entry is of something else.
    pub fn state(&self, entry: &Entry) -> State {
        let Content::State { tables, facts } = &entry.content else {
            return State::default();
        };
        let table = |(name, blob): (&String, &Blob)| {
            let vocabulary = Vocabulary::at(&self.blob_path(blob));
            let digest = blob.digest.clone();
            (name.clone(), StateTable { digest, vocabulary })
        };
        State {
            tables: tables.iter().map(table).collect(),
            facts: facts.clone(),
        }
    }

    fn node_path(&self, pipeline: &str, node: &str) -> PathBuf {
        let name = format!("{}.json", file_name(node));
        self.root.join("nodes").join(file_name(pipeline)).join(name)
    }

    /// Writes a file that appears whole and lasts.
    fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let file = self.unfinished_json(path, value)?;
        file.as_file().sync_all().map_err(at(path))?;
        file.persist(path).map_err(|error| at(path)(error.error))?;
        sync_folder(path.parent().unwrap_or(&self.root))
    }

    /// Writes a file that appears whole and may be lost: it is not waited for, and a failure is ignored.
    fn note_json(&self, path: &Path, value: &impl Serialize) {
        let folder = path.parent().unwrap_or(&self.root);
        let written = fs::create_dir_all(folder).map_err(at(folder));
        let written = written.and_then(|()| self.unfinished_json(path, value));
        drop(written.map(|file| file.persist(path)));
    }

    fn unfinished_json(&self, path: &Path, value: &impl Serialize) -> Result<tempfile::NamedTempFile> {
        let parent = self.root.join("tmp");
        let mut file = tempfile::NamedTempFile::new_in(&parent).map_err(at(&parent))?;
        let bytes = serde_json::to_vec_pretty(value).map_err(|error| at(path)(error.into()))?;
        file.write_all(&bytes).map_err(at(path))?;
        Ok(file)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Makes a file durable, and keeps it from being changed by accident once it has its place.
fn seal(file: &Path) -> io::Result<()> {
    let open = File::open(file)?;
    let mut permissions = open.metadata()?.permissions();
    permissions.set_readonly(true);
    open.set_permissions(permissions)?;
    open.sync_all()
}

/// A rename is durable once its folder is.
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(at(folder))
}

/// BLAKE3 of a file's content in hex, and its length.
pub fn digest_file(path: &Path) -> Result<(String, u64)> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).map_err(at(path))?;
    hasher.update_reader(file).map_err(at(path))?;
    Ok((hasher.finalize().to_hex().to_string(), hasher.count()))
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
