//! The shared store: a remote cache of artifacts, used by several machines.
//!
//! It has the same layout as the local store (`blobs/`, `why/`, `entries/`) behind the URL of an object store. What is
//! there is looked for when the local store lacks it, copied into the local store with its digests checked, and used from
//! there; what is made is copied to it, the entry last, so that an entry there has its blobs. Blobs are named by their
//! content, so that two that write at once write the same. Receipts are not shared: what a sink has published is a fact
//! about a place, not about a key.
//!
//! A shared store is optional: damaged or missing artifacts are computed again, and a store that cannot be
//! reached is reported once and not used for the rest of the run.

mod address;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;

use crate::store::entry::Blob;
use crate::store::{StoreError, digest_json};

pub use address::Address;

/// A failure of a shared store.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The entry is damaged; it is a cache miss.
    #[error("{0}")]
    Damaged(String),
    /// The store cannot be reached or refused the request.
    #[error("{0}")]
    Unreachable(String),
    /// The local store failed.
    #[error(transparent)]
    Local(#[from] StoreError),
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl From<object_store::Error> for SharedError {
    fn from(error: object_store::Error) -> Self {
        SharedError::Unreachable(redacted(&error.to_string()))
    }
}

/// The part of an entry to download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchScope {
    /// All of it, published in the local store.
    Full,
    /// The part that a plan reads, without rows and weights. The local store gets no entry.
    Metadata,
}

/// A shared store. It is opened by the first request.
#[derive(Debug)]
pub struct SharedStore {
    shown: String,
    root: ObjectPath,
    source: Source,
    objects: OnceLock<Result<Arc<dyn ObjectStore>, String>>,
    unreadable: AtomicBool,
    unwritable: AtomicBool,
    /// Digests of blobs that are damaged there: they are written again, though something has their name.
    damaged: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
enum Source {
    Address(Address),
    Open(Arc<dyn ObjectStore>),
}

impl SharedStore {
    /// The store at an address.
    pub fn at(address: Address) -> Self {
        SharedStore::new(address.to_string(), address.root(), Source::Address(address))
    }

    /// A store that is open already, under the name that messages call it by.
    pub fn over(objects: Arc<dyn ObjectStore>, shown: &str) -> Self {
        SharedStore::new(shown.to_owned(), ObjectPath::default(), Source::Open(objects))
    }

    fn new(shown: String, root: ObjectPath, source: Source) -> Self {
        SharedStore {
            shown,
            root,
            source,
            objects: OnceLock::new(),
            unreadable: AtomicBool::new(false),
            unwritable: AtomicBool::new(false),
            damaged: Mutex::default(),
        }
    }

    /// Its address, as shown to users.
    pub fn address(&self) -> &str {
        &self.shown
    }

    /// The id of this store in entries of the local store.
    pub fn id(&self) -> String {
        digest_json(&serde_json::Value::String(self.shown.clone()))
    }

    /// Whether entries are read from it.
    pub fn is_readable(&self) -> bool {
        !self.unreadable.load(Ordering::Relaxed)
    }

    /// Whether entries are written to it.
    pub fn is_writable(&self) -> bool {
        self.is_readable() && !self.unwritable.load(Ordering::Relaxed)
    }

    /// Disables reading and writing; returns whether reading was enabled.
    pub fn disable_reads(&self) -> bool {
        !self.unreadable.swap(true, Ordering::Relaxed)
    }

    /// Disables writing; returns whether writing was enabled.
    pub fn disable_writes(&self) -> bool {
        !self.unwritable.swap(true, Ordering::Relaxed) && self.is_readable()
    }

    fn objects(&self) -> Result<&Arc<dyn ObjectStore>, SharedError> {
        let opened = self.objects.get_or_init(|| match &self.source {
            Source::Open(objects) => Ok(Arc::clone(objects)),
            Source::Address(address) => address.open().map_err(|error| redacted(&error.to_string())),
        });
        opened.as_ref().map_err(|error| SharedError::Unreachable(error.clone()))
    }

    fn note_damaged(&self, blob: &Blob) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.insert(blob.digest.clone());
    }

    fn is_damaged(&self, blob: &Blob) -> bool {
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.contains(&blob.digest)
    }
}

/// A message without the queries of URLs, which may hold signatures.
fn redacted(text: &str) -> String {
    // What a server answers can be a page long.
    const LONGEST: usize = 400;
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, url) = rest.split_at(start);
        out.push_str(before);
        let end = url.find([' ', ')', '"', '\n']).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let query = url.find('?');
        out.push_str(&url[..query.unwrap_or(url.len())]);
        if query.is_some() {
            out.push_str("?...");
        }
        rest = after;
    }
    out.push_str(rest);
    match out.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &out[..end]),
        None => out,
    }
}

#[cfg(test)]
mod messages {
    use super::*;

    #[test]
    fn a_message_keeps_its_urls_without_their_queries() {
        let text = "Error performing GET https://a.b/c?sig=abc&x=1 in 2 s, then (http://d/e?f) failed";
        assert_eq!(
            redacted(text),
            "Error performing GET https://a.b/c?... in 2 s, then (http://d/e?...) failed"
        );
        assert_eq!(redacted(&"x".repeat(500)).len(), 403);
    }
}
