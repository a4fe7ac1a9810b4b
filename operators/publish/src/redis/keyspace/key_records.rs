//! Records of a generation: which keys it has, with the digests of their documents, one record per chunk.
//!
//! They tell which keys are gone and which documents have changed without `SCAN` or a read of the documents.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use crate::batch::chunk::{Chunk, digest};
use crate::batch::spill::{PreviousKey, Spill};
use crate::redis::client::client_error::ClientError;
use crate::redis::client::server::Server;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::keyspace::metadata_keys::MetadataKeys;

/// Records per request.
const RECORDS_PER_REQUEST: u64 = 64;

/// Generation with the number of its records.
pub(crate) type RecordedGeneration = (u64, u64);

/// Adds an entry to the checksum of a generation.
pub(crate) fn add_to_checksum(checksum: u128, key: &[u8], document: &[u8]) -> u128 {
    let both = xxh3_128(key).rotate_left(1) ^ xxh3_128(document);
    checksum.wrapping_add(xxh3_128(&both.to_le_bytes()))
}

/// Generations that have records, each with their number.
pub(crate) async fn generations(
    server: &Server,
    metadata_keys: &MetadataKeys,
) -> Result<BTreeMap<u64, u64>, ClientError> {
    let name = metadata_keys.generations();
    let mut command = redis::cmd("HGETALL");
    command.arg(&name);
    server.query(Some(name.as_bytes()), command).await
}

/// Registers a generation with the number of records that it will have.
pub(crate) async fn register(
    server: &Server,
    metadata_keys: &MetadataKeys,
    (generation, records): RecordedGeneration,
) -> Result<(), ClientError> {
    let name = metadata_keys.generations();
    let mut command = redis::cmd("HSET");
    command.arg(&name).arg(generation).arg(records);
    server.query::<i64>(Some(name.as_bytes()), command).await.map(|_| ())
}

/// Number of a new generation, larger than all before it.
pub(crate) async fn next_generation(
    server: &Server,
    metadata_keys: &MetadataKeys,
    largest: u64,
) -> Result<u64, ClientError> {
    let name = metadata_keys.sequence();
    let mut command = redis::cmd("INCR");
    command.arg(&name);
    let next = server.query::<u64>(Some(name.as_bytes()), command).await?;
    if next > largest {
        return Ok(next);
    }
    server.set(&name, &(largest + 1).to_string()).await?;
    Ok(largest + 1)
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

/// Calls `each` with the keys of every record of a generation. Returns whether no record is missing.
pub(crate) async fn for_each(
    server: &Server,
    metadata_keys: &MetadataKeys,
    (generation, count): RecordedGeneration,
    mut each: impl AsyncFnMut(Vec<(u64, &[u8])>) -> Result<(), ClientError>,
) -> Result<bool, ClientError> {
    let mut complete = true;
    let mut first = 0;
    while first < count {
        let keys: Vec<String> = (first..(first + RECORDS_PER_REQUEST).min(count))
            .map(|chunk| metadata_keys.record(generation, chunk))
            .collect();
        let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        for record in ValueFormat::STRING.read(server, &keys).await? {
            match record {
                Some(record) => each(decode(&record)).await?,
                None => complete = false,
            }
        }
        first += RECORDS_PER_REQUEST;
    }
    Ok(complete)
}

/// Spills the recorded keys of a generation. Returns whether no record is missing.
pub(crate) async fn spill(
    server: &Server,
    metadata_keys: &MetadataKeys,
    generation: RecordedGeneration,
    spill: &mut Spill<PreviousKey>,
) -> Result<bool, ClientError> {
    for_each(server, metadata_keys, generation, async |keys| {
        for (digest, key) in keys {
            spill.push(&PreviousKey::of(digest, key))?;
        }
        Ok(())
    })
    .await
}

/// Removes the records of a generation.
pub(crate) async fn remove(
    server: &Server,
    metadata_keys: &MetadataKeys,
    (generation, count): RecordedGeneration,
) -> Result<(), ClientError> {
    let mut first = 0;
    while first < count {
        let keys =
            (first..(first + RECORDS_PER_REQUEST).min(count)).map(|chunk| metadata_keys.record(generation, chunk));
        server.unlink(&keys.collect::<Vec<_>>()).await?;
        first += RECORDS_PER_REQUEST;
    }
    let name = metadata_keys.generations();
    let mut command = redis::cmd("HDEL");
    command.arg(&name).arg(generation);
    server.query::<i64>(Some(name.as_bytes()), command).await.map(|_| ())
}
