//! Versioned keys: with `publish: pointer` every generation has keys of its own.

use std::borrow::Cow;

use crate::redis::keyspace::metadata_keys::MetadataKeys;

/// Version of the keys that a generation is stored under.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeyVersion {
    /// Keys as the pattern makes them; a new generation replaces their values.
    Unversioned,
    /// Keys prefixed with the number of a generation.
    Generation(u64),
}

impl KeyVersion {
    /// Name that the document of `key` is stored under.
    pub(crate) fn stored_key<'k>(self, metadata_keys: &MetadataKeys, key: &'k [u8]) -> Cow<'k, [u8]> {
        match self {
            KeyVersion::Unversioned => Cow::Borrowed(key),
            KeyVersion::Generation(generation) => Cow::Owned(metadata_keys.of_generation(generation, key)),
        }
    }
}
