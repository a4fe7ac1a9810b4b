//! Records of a generation: which keys it has, with the digests of their documents, one record per chunk.
//!
//! They tell which keys are gone and which documents have changed without `SCAN` or a read of the documents.

use std::collections::BTreeMap;

use redis::{Cmd, FromRedisValue};
use xxhash_rust::xxh3::xxh3_128;

use crate::batch::chunk::{Chunk, digest};
use crate::batch::spill::{PreviousKey, Spill};
use crate::redis::client::client_error::ClientError;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::keyspace::namespace::Namespace;

/// Records per request.
const RECORDS_PER_REQUEST: u64 = 64;

/// Generation with the number of its records.
pub(crate) type RecordedGeneration = (u64, u64);

/// Adds an entry to the checksum of a generation.
pub(crate) fn add_to_checksum(checksum: u128, key: &[u8], document: &[u8]) -> u128 {
    let both = xxh3_128(key).rotate_left(1) ^ xxh3_128(document);
    checksum.wrapping_add(xxh3_128(&both.to_le_bytes()))
}

/// Record of a chunk: digest, length and bytes of each key.
pub(crate) fn encode(chunk: &Chunk) -> Vec<u8> {
    // Most keys are short.
    let mut bytes = Vec::with_capacity(32 * chunk.len());
    for (key, document) in chunk.iter() {
        bytes.extend_from_slice(&digest(document).to_le_bytes());
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(key);
    }
    bytes
}

/// Keys of a record, each with the digest of its document.
fn decode(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut keys = Vec::new();
    while let Some((digest, rest)) = bytes.split_first_chunk::<8>() {
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            break;
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((key, rest)) = rest.split_at_checked(length) else {
            break;
        };
        keys.push((u64::from_le_bytes(*digest), key));
        bytes = rest;
    }
    keys
}

impl Namespace<'_> {
    /// Generations that have records, each with their number.
    pub(crate) async fn generations(&self) -> Result<BTreeMap<u64, u64>, ClientError> {
        self.registry("HGETALL", |_| {}).await
    }

    /// Registers a generation with the number of records that it will have.
    pub(crate) async fn register(&self, (generation, records): RecordedGeneration) -> Result<(), ClientError> {
        let arguments = |command: &mut Cmd| {
            command.arg(generation).arg(records);
        };
        self.registry::<i64>("HSET", arguments).await.map(|_| ())
    }

    /// Whether a generation is registered.
    pub(crate) async fn is_registered(&self, generation: u64) -> Result<bool, ClientError> {
        let arguments = |command: &mut Cmd| {
            command.arg(generation);
        };
        self.registry("HEXISTS", arguments).await
    }

    async fn registry<T: FromRedisValue>(
        &self,
        name: &str,
        arguments: impl FnOnce(&mut Cmd),
    ) -> Result<T, ClientError> {
        let key = self.keys.generations();
        let mut command = redis::cmd(name);
        arguments(command.arg(&key));
        self.server.query(Some(key.as_bytes()), command).await
    }

    /// Number of a new generation, larger than all before it.
    pub(crate) async fn next_generation(&self, largest: u64) -> Result<u64, ClientError> {
        let name = self.keys.sequence();
        let mut command = redis::cmd("INCR");
        command.arg(&name);
        let next = self.server.query::<u64>(Some(name.as_bytes()), command).await?;
        if next > largest {
            return Ok(next);
        }
        self.server.set(&name, &(largest + 1).to_string()).await?;
        Ok(largest + 1)
    }

    /// Calls `each` with the keys of every record of a generation. Returns whether no record is missing.
    pub(crate) async fn for_each_record(
        &self,
        generation: RecordedGeneration,
        mut each: impl AsyncFnMut(Vec<(u64, &[u8])>) -> Result<(), ClientError>,
    ) -> Result<bool, ClientError> {
        let mut complete = true;
        for names in self.record_names(generation) {
            let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
            for record in ValueFormat::STRING.read(self.server, &names).await? {
                match record {
                    Some(record) => each(decode(&record)).await?,
                    None => complete = false,
                }
            }
        }
        Ok(complete)
    }

    /// Names of the records of a generation, in groups.
    fn record_names(&self, (generation, count): RecordedGeneration) -> impl Iterator<Item = Vec<String>> {
        (0..count).step_by(RECORDS_PER_REQUEST as usize).map(move |first| {
            let chunks = first..(first + RECORDS_PER_REQUEST).min(count);
            chunks.map(|chunk| self.keys.record(generation, chunk)).collect()
        })
    }

    /// Spills the recorded keys of a generation. Returns whether no record is missing.
    pub(crate) async fn spill_records(
        &self,
        generation: RecordedGeneration,
        spill: &mut Spill<PreviousKey>,
    ) -> Result<bool, ClientError> {
        self.for_each_record(generation, async |keys| {
            for (digest, key) in keys {
                spill.push(&PreviousKey::of(digest, key))?;
            }
            Ok(())
        })
        .await
    }

    /// Removes the records of a generation.
    pub(crate) async fn remove_records(&self, generation: RecordedGeneration) -> Result<(), ClientError> {
        for names in self.record_names(generation) {
            self.server.unlink(&names).await?;
        }
        let arguments = |command: &mut Cmd| {
            command.arg(generation.0);
        };
        self.registry::<i64>("HDEL", arguments).await.map(|_| ())
    }
}
