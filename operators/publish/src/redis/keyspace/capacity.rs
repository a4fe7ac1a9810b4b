//! Capacity: whether the memory of a server holds two generations.

use crate::batch::row_encoder::RowEncoder;
use crate::redis::client::client_error::ClientError;
use crate::redis::client::server::Server;
use crate::redis::config::settings::ValueType;
use crate::redis::keyspace::generation_metadata::GenerationMetadata;
use towline_api::{OperatorError, Result};

/// Memory that a key needs beside the bytes of its name and value.
const OVERHEAD_PER_KEY: u64 = 96;
/// Memory of a RedisJSON document as a multiple of its bytes.
const JSON_FACTOR: u64 = 4;
/// Rows of which the size of a document is estimated where nothing is published.
const SAMPLED_ROWS: usize = 512;

/// Refuses to load `keys` documents if the server's `maxmemory` is too small for them.
pub(crate) async fn check(
    staging: &Server,
    (encoder, value_type): (&RowEncoder<'_>, ValueType),
    keys: u64,
    published: Option<&GenerationMetadata>,
) -> Result<(), ClientError> {
    let limit = staging.info("memory", "maxmemory").await?;
    if limit == 0 {
        return Ok(());
    }
    let used = staging.info("memory", "used_memory").await?;
    let per_key = match published.filter(|published| published.rows > 0) {
        Some(published) => staging.info("memory", "used_memory_dataset").await? / published.rows,
        None => estimate(encoder, value_type)?,
    };
    let needed = per_key * keys;
    if used + needed > limit {
        return Err(OperatorError::Server(format!(
            "two generations do not fit into the server: `maxmemory` is {limit} bytes, {used} are used, and {keys} keys \
             need about {needed} more; raise `maxmemory`, or use `publish: overwrite`"
        ))
        .into());
    }
    Ok(())
}

/// Estimated memory per key.
fn estimate(encoder: &RowEncoder<'_>, value_type: ValueType) -> Result<u64> {
    let first = encoder.chunks(SAMPLED_ROWS).next().transpose()?.unwrap_or_default();
    let bytes: usize = first.iter().map(|(key, document)| key.len() + document.len()).sum();
    let factor = if value_type == ValueType::Json { JSON_FACTOR } else { 1 };
    Ok(bytes as u64 / (first.len() as u64).max(1) * factor + OVERHEAD_PER_KEY)
}
