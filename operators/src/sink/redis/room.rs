//! Whether a server has room for two generations.

use super::book::{self, Meta};
use super::connection::Failure;
use super::publisher::Publisher;
use super::server::Server;
use super::settings::Stored;
use crate::contract::OperatorError;
use crate::sink::entries::Census;

/// What a key costs a server beside its bytes.
const PER_KEY: u64 = 96;
/// What a document of RedisJSON costs, as a multiple of its bytes.
const JSON_FACTOR: u64 = 4;

/// Refuses to load what the server has no room for.
pub(super) async fn check(
    publisher: &Publisher<'_>,
    staging: &Server,
    census: &Census,
    live: Option<&Meta>,
) -> Result<(), Failure> {
    let limit = book::info(staging, "memory", "maxmemory").await?;
    if limit == 0 {
        return Ok(());
    }
    let used = book::info(staging, "memory", "used_memory").await?;
    let held = book::info(staging, "memory", "used_memory_dataset").await?;
    let per_key = match live.filter(|live| live.rows > 0) {
        Some(live) => held / live.rows,
        None => {
            let first = publisher
                .entries
                .chunks(publisher.manner.chunk)
                .next()
                .transpose()?
                .unwrap_or_default();
            let bytes: usize = first.iter().map(|(key, document)| key.len() + document.len()).sum();
            let factor = if publisher.style.stored == Stored::Json {
                JSON_FACTOR
            } else {
                1
            };
            bytes as u64 / (first.len() as u64).max(1) * factor + PER_KEY
        }
    };
    let needed = per_key * census.keys;
    if used + needed > limit {
        return Err(OperatorError::Server(format!(
            "two generations do not fit into the server: `maxmemory` is {limit} bytes, {used} are used, and {} keys need \
             about {needed} more; raise `maxmemory`, or use `publish: overwrite`",
            census.keys
        ))
        .into());
    }
    Ok(())
}
