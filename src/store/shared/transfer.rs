//! Transfer of entries and blobs between the local store and a shared one.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt, PutPayload, WriteMultipart};
use serde_json::Value;
use towline_api::Cancel;

use crate::store::entry::{Blob, Content, Entry};
use crate::store::shared::{FetchScope, SharedError, SharedStore};
use crate::store::{Store, at, digest_file};

type Result<T> = std::result::Result<T, SharedError>;

/// Timeout of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Size of a part of a multipart upload; smaller blobs are uploaded at once.
const PART_BYTES: usize = 8 << 20;
/// Maximum number of concurrent part uploads.
const MAX_CONCURRENT_PARTS: usize = 4;

impl SharedStore {
    /// Downloads the entry of a key with the blobs in scope; `None` if there is no entry.
    pub async fn fetch(&self, store: &Store, key: &str, scope: FetchScope, cancel: &Cancel) -> Result<Option<Entry>> {
        let place = format!("entries/{key}.json");
        let Some(bytes) = self.get_small(&place, cancel).await? else {
            return Ok(None);
        };
        let entry: Entry = serde_json::from_slice(&bytes)
            .map_err(|error| SharedError::Damaged(format!("{place} is not readable: {error}")))?;
        if entry.key != key || matches!(entry.content, Content::Receipt { .. }) {
            return Err(SharedError::Damaged(format!("{place} is the entry of something else")));
        }
        tracing::debug!(key, ?scope, "found in the shared store");
        for blob in blobs_in_scope(&entry, scope) {
            let result = self.download_blob(store, blob, cancel).await;
            if matches!(result, Err(SharedError::Damaged(_))) {
                // If one blob is damaged, the others may be too: all are uploaded again.
                entry.blobs().into_iter().for_each(|blob| self.note_damaged(blob));
            }
            result?;
        }
        if scope == FetchScope::Full {
            let why = self
                .get_small(&format!("why/{key}.json"), cancel)
                .await?
                .unwrap_or_default();
            let why: Value = serde_json::from_slice(&why).unwrap_or(Value::Null);
            store.publish_entry(&entry, &why)?;
            store.note_shared(&entry, &self.id());
        }
        Ok(Some(entry))
    }

    /// Downloads a blob into the local store, unless it is there intact.
    async fn download_blob(&self, store: &Store, blob: &Blob, cancel: &Cancel) -> Result<()> {
        let place = object_name(blob)?;
        if store.has(blob) {
            return Ok(());
        }
        let temp = store.temp_dir()?;
        let path = temp.path().join("blob");
        if !self.download(&place, &path, cancel).await? {
            return Err(SharedError::Damaged(format!("artifact missing: {place}")));
        }
        let (digest, bytes) = digest_file(&path)?;
        if (&digest, bytes) != (&blob.digest, blob.bytes) {
            let what = if bytes == blob.bytes {
                "has other content".to_owned()
            } else {
                format!("has {bytes} bytes of {}", blob.bytes)
            };
            return Err(SharedError::Damaged(format!("artifact damaged: {place} {what}")));
        }
        store.place_blob(&path, blob)?;
        Ok(())
    }

    /// Writes an object into a new file; `false` if there is no such object.
    async fn download(&self, place: &str, path: &Path, cancel: &Cancel) -> Result<bool> {
        let found = match with_timeout(self.objects()?.get(&self.path(place)), cancel).await? {
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            found => found?,
        };
        let mut file = File::create(path).map_err(at(path))?;
        let mut chunks = found.into_stream();
        while let Some(chunk) = with_timeout(chunks.next(), cancel).await? {
            file.write_all(&chunk?).map_err(at(path))?;
        }
        Ok(true)
    }

    /// The bytes of a small object, if it is there.
    async fn get_small(&self, place: &str, cancel: &Cancel) -> Result<Option<Vec<u8>>> {
        let path = self.path(place);
        let objects = self.objects()?;
        let got = async {
            let found = objects.get(&path).await?;
            Ok(found.bytes().await?.to_vec())
        };
        match with_timeout(got, cancel).await? {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            got => Ok(Some(got?)),
        }
    }

    /// Uploads an entry of the local store: its blobs, then its fingerprint, then the entry itself. An existing one is
    /// kept, unless `replace` is set because some of it is damaged or missing there.
    pub async fn upload(&self, store: &Store, entry: &Entry, replace: bool, cancel: &Cancel) -> Result<()> {
        let place = format!("entries/{}.json", entry.key);
        if replace || self.size(&place, cancel).await?.is_none() {
            tracing::debug!(key = entry.key, "uploading to the shared store");
            for blob in entry.blobs() {
                self.upload_blob(store, blob, cancel).await?;
            }
            if let Some(why) = store.fingerprint::<Value>(&entry.key) {
                self.put(&format!("why/{}.json", entry.key), &why, cancel).await?;
            }
            let plain = Entry {
                stamps: std::collections::BTreeMap::new(),
                shared: std::collections::BTreeSet::new(),
                ..entry.clone()
            };
            self.put(&place, &serde_json::json!(plain), cancel).await?;
        }
        store.note_shared(entry, &self.id());
        Ok(())
    }

    async fn upload_blob(&self, store: &Store, blob: &Blob, cancel: &Cancel) -> Result<()> {
        let place = object_name(blob)?;
        let there = self.size(&place, cancel).await? == Some(blob.bytes);
        if there && !self.is_damaged(blob) {
            return Ok(());
        }
        let (path, target) = (store.blob_path(blob), self.path(&place));
        let mut file = File::open(&path).map_err(at(&path))?;
        let first = part(&mut file).map_err(at(&path))?;
        if first.len() < PART_BYTES {
            let payload = PutPayload::from(first);
            with_timeout(self.objects()?.put(&target, payload), cancel).await??;
            return Ok(());
        }
        let parts = with_timeout(self.objects()?.put_multipart(&target), cancel).await??;
        let mut parts = WriteMultipart::new_with_chunk_size(parts, PART_BYTES);
        let sent = send(&mut parts, first, &mut file, &path, cancel).await;
        if let Err(error) = sent {
            // An upload that cannot be aborted has no name; lifecycle rules of the bucket remove it.
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, parts.abort()).await;
            return Err(error);
        }
        with_timeout(parts.finish(), cancel).await??;
        Ok(())
    }

    async fn put(&self, place: &str, value: &Value, cancel: &Cancel) -> Result<()> {
        let payload = PutPayload::from(value.to_string().into_bytes());
        with_timeout(self.objects()?.put(&self.path(place), payload), cancel).await??;
        Ok(())
    }

    /// The size of an object, if it is there.
    async fn size(&self, place: &str, cancel: &Cancel) -> Result<Option<u64>> {
        match with_timeout(self.objects()?.head(&self.path(place)), cancel).await? {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            found => Ok(Some(found?.size)),
        }
    }

    pub(super) fn path(&self, place: &str) -> ObjectPath {
        let parts = self.root.parts().map(|part| part.as_ref().to_owned());
        parts.chain(place.split('/').map(str::to_owned)).collect()
    }
}

async fn send(parts: &mut WriteMultipart, first: Vec<u8>, file: &mut File, path: &Path, cancel: &Cancel) -> Result<()> {
    let mut next = first;
    while !next.is_empty() {
        with_timeout(parts.wait_for_capacity(MAX_CONCURRENT_PARTS), cancel).await??;
        parts.write(&next);
        next = part(file).map_err(at(path))?;
    }
    Ok(())
}

/// Up to a part of what is left of a file.
fn part(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(PART_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The blobs in scope.
fn blobs_in_scope(entry: &Entry, scope: FetchScope) -> Vec<&Blob> {
    match (scope, &entry.content) {
        (FetchScope::Metadata, Content::Dataset { vocabularies, .. } | Content::Model { vocabularies, .. }) => {
            vocabularies.iter().collect()
        }
        _ => entry.blobs(),
    }
}

/// The object name of a blob. The entry was written by others: a digest that is not one must not become a path.
fn object_name(blob: &Blob) -> Result<String> {
    let digest = blob.digest.len() == 64
        && blob
            .digest
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let ending = !blob.extension.is_empty() && blob.extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !digest || !ending {
        return Err(SharedError::Damaged("it names a blob that cannot exist".to_owned()));
    }
    Ok(format!(
        "blobs/{}/{}.{}",
        &blob.digest[..2],
        blob.digest,
        blob.extension
    ))
}

/// The result of a request, unless it times out or the run is interrupted.
async fn with_timeout<T>(request: impl Future<Output = T>, cancel: &Cancel) -> Result<T> {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    tokio::pin!(request);
    let start = std::time::Instant::now();
    loop {
        if let Ok(done) = tokio::time::timeout(LOOK_EVERY, &mut request).await {
            return Ok(done);
        }
        if cancel.is_cancelled() {
            return Err(SharedError::Interrupted);
        }
        if start.elapsed() > REQUEST_TIMEOUT {
            let text = format!("no answer in {} s", REQUEST_TIMEOUT.as_secs());
            return Err(SharedError::Unreachable(text));
        }
    }
}
