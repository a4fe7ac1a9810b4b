use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde_json::json;
use towline_api::{Cancel, Report, Schema};

use crate::store::shared::{FetchScope, SharedError, SharedStore};
use crate::store::{Content, Entry, Lookup, Store, StoredSplit};

const KEY: &str = "0123456789abcdef";

/// More than one part, and not a whole number of them.
fn big() -> Vec<u8> {
    (0..20_000_003_u32)
        .map(|x| (x.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn store_with(folder: &Path, bytes: &[u8]) -> (Store, Entry) {
    let store = Store::open(folder).unwrap();
    let file = store.temp_dir().unwrap();
    let path = file.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let blob = store.publish_blob(&path, "parquet").unwrap();
    let split = StoredSplit {
        name: "train".into(),
        blob,
        rows: 1,
    };
    let entry = Entry {
        key: KEY.into(),
        content: Content::Dataset {
            schema: Schema::default(),
            splits: vec![split],
            vocabularies: Vec::new(),
        },
        metrics: BTreeMap::new(),
        report: Report::default(),
        seconds: 0.5,
        stamps: BTreeMap::new(),
        shared: BTreeSet::new(),
    };
    store.publish_entry(&entry, &json!({ "because": 1 })).unwrap();
    (store, entry)
}

fn found(store: &Store) -> Entry {
    match store.lookup(KEY) {
        Lookup::Found(entry) => entry,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_entry_with_a_blob_of_several_parts_goes_there_and_comes_back() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cancel = Cancel::default();
    let shared = SharedStore::over(Arc::new(InMemory::new()), "memory");
    let bytes = big();
    let (store, entry) = store_with(here.path(), &bytes);
    shared.upload(&store, &entry, true, &cancel).await.unwrap();
    assert!(found(&store).shared.contains(&shared.id()));

    let other = Store::open(there.path()).unwrap();
    assert!(
        shared
            .fetch(&other, "another", FetchScope::Full, &cancel)
            .await
            .unwrap()
            .is_none()
    );
    let outline = shared
        .fetch(&other, KEY, FetchScope::Metadata, &cancel)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((&outline.content, outline.stamps.len()), (&entry.content, 0));
    assert!(matches!(other.lookup(KEY), Lookup::Absent), "a plan needs no rows");
    shared
        .fetch(&other, KEY, FetchScope::Full, &cancel)
        .await
        .unwrap()
        .unwrap();
    let entry = found(&other);
    assert_eq!(std::fs::read(other.blob_path(entry.blobs()[0])).unwrap(), bytes);
    assert_eq!(
        other.fingerprint::<serde_json::Value>(KEY),
        Some(json!({ "because": 1 }))
    );
    assert!(entry.shared.contains(&shared.id()), "it need not be given back");
}

#[tokio::test]
async fn a_damaged_blob_is_no_blob_until_it_is_given_anew() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cancel = Cancel::default();
    let objects = Arc::new(InMemory::new());
    let shared = SharedStore::over(Arc::clone(&objects) as Arc<dyn ObjectStore>, "memory");
    let (store, entry) = store_with(here.path(), b"rows of a table");
    shared.upload(&store, &entry, true, &cancel).await.unwrap();
    let path = shared.path(&format!(
        "blobs/{}/{}.parquet",
        &entry.blobs()[0].digest[..2],
        entry.blobs()[0].digest
    ));
    // The same size, so that a look at the size alone would not tell.
    objects
        .put(&path, PutPayload::from_static(b"rows of a fable"))
        .await
        .unwrap();

    let other = Store::open(there.path()).unwrap();
    let error = shared.fetch(&other, KEY, FetchScope::Full, &cancel).await.unwrap_err();
    assert!(
        matches!(&error, SharedError::Damaged(what) if what.contains("has other content")),
        "{error}"
    );
    assert!(matches!(other.lookup(KEY), Lookup::Absent));
    shared.upload(&store, &entry, true, &cancel).await.unwrap();
    assert!(
        shared
            .fetch(&other, KEY, FetchScope::Full, &cancel)
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn an_interruption_ends_a_transfer_and_leaves_nothing_half_done() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shared = SharedStore::over(
        Arc::new(object_store::throttle::ThrottledStore::new(
            InMemory::new(),
            object_store::throttle::ThrottleConfig {
                wait_get_per_call: std::time::Duration::from_secs(30),
                ..Default::default()
            },
        )),
        "slow",
    );
    let (store, entry) = store_with(here.path(), b"rows");
    shared.upload(&store, &entry, true, &Cancel::default()).await.unwrap();
    let other = Store::open(there.path()).unwrap();
    let cancel = Cancel::default();
    cancel.cancel();
    let start = std::time::Instant::now();
    let ended = shared.fetch(&other, KEY, FetchScope::Full, &cancel).await;
    assert!(matches!(ended, Err(SharedError::Interrupted)), "{ended:?}");
    assert!(start.elapsed().as_secs() < 10);
    assert!(matches!(other.lookup(KEY), Lookup::Absent));
}
