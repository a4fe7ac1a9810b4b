//! Chunk: the entries that one pipeline writes.

use xxhash_rust::xxh3::xxh3_64;

use towline_api::Result;

/// Entries of consecutive rows, in one buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Index of the first key among all keys.
    pub(crate) first: u64,
    bytes: Vec<u8>,
    /// End of each key and of each document in the buffer.
    ends: Vec<(usize, usize)>,
}

impl Chunk {
    /// Empty chunk with capacity for one of this size.
    pub(crate) fn with_capacity(size: (usize, usize), first: u64) -> Self {
        Chunk {
            first,
            bytes: Vec::with_capacity(size.0 + size.0 / 8),
            ends: Vec::with_capacity(size.1),
        }
    }

    /// Appends the entry that `key` and `document` write, and returns the result of `document`. If `key` returns `false`, nothing
    /// is appended.
    pub(crate) fn push(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>) -> bool,
        document: impl FnOnce(&mut Vec<u8>) -> Result<u64>,
    ) -> Result<u64> {
        let start = self.bytes.len();
        if !key(&mut self.bytes) {
            self.bytes.truncate(start);
            return Ok(0);
        }
        let end = self.bytes.len();
        let result = document(&mut self.bytes)?;
        self.ends.push((end, self.bytes.len()));
        Ok(result)
    }

    /// Number of bytes and of keys.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.bytes.len(), self.len())
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Key and document at an index.
    pub(crate) fn get(&self, index: usize) -> (&[u8], &[u8]) {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let (key, document) = self.ends[index];
        (&self.bytes[start..key], &self.bytes[key..document])
    }

    /// All keys with their documents.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Digest of a document, for change detection.
pub(crate) fn digest(document: &[u8]) -> u64 {
    xxh3_64(document)
}
