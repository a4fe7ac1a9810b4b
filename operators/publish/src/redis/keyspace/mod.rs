//! The keys of a namespace: metadata, records of a generation's keys, ownership, capacity, search indexes.

pub(crate) mod capacity;
pub(crate) mod generation_metadata;
pub(crate) mod key_records;
pub(crate) mod key_version;
pub(crate) mod metadata_keys;
pub(crate) mod namespace;
pub(crate) mod ownership;
pub(crate) mod search_index;
