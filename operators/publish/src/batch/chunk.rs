//! Keys with their documents, a few at a time.

use xxhash_rust::xxh3::xxh3_64;

use towline_api::Result;

/// Keys and documents of some rows, in one buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The place of the first key among all keys.
    pub(crate) first: u64,
    bytes: Vec<u8>,
    /// Where each key and each document ends.
    ends: Vec<(usize, usize)>,
}

impl Chunk {
    /// An empty one that is likely to become as large as one of this size.
    pub(crate) fn like(size: (usize, usize), first: u64) -> Self {
        Chunk {
            first,
            bytes: Vec::with_capacity(size.0 + size.0 / 8),
            ends: Vec::with_capacity(size.1),
        }
    }

    /// Appends what writes a key and then its document, and gives what the latter says. Where there is no key, which the
    /// former says by `false`, nothing is appended.
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
        let said = document(&mut self.bytes)?;
        self.ends.push((end, self.bytes.len()));
        Ok(said)
    }

    /// How many bytes and how many keys there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.bytes.len(), self.len())
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The key and the document at a place.
    pub(crate) fn get(&self, place: usize) -> (&[u8], &[u8]) {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let (key, document) = self.ends[place];
        (&self.bytes[start..key], &self.bytes[key..document])
    }

    /// All keys with their documents.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.len()).map(|place| self.get(place))
    }
}

/// The digest of a document, by which it is told whether it has changed.
pub(crate) fn digest(document: &[u8]) -> u64 {
    xxh3_64(document)
}
