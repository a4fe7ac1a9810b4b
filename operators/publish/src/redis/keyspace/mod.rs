//! Which keys belong to a batch: metadata, ownership, capacity, search indexes.

pub(crate) mod capacity;
pub(crate) mod metadata_keys;
pub(crate) mod ownership;
pub(crate) mod search_index;
