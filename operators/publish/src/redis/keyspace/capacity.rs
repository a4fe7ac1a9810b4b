//! Whether a server has room for two generations.

use crate::batch::entries::Census;
use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::config::settings::Stored;
use crate::redis::keyspace::metadata_keys;
use crate::redis::keyspace::metadata_keys::Meta;
use crate::redis::publish::publisher::Publisher;
use towline_api::OperatorError;

/// What a key costs a server beside its bytes.
const PER_KEY: u64 = 96;
/// What a document of RedisJSON costs, as a multiple of its bytes.
const JSON_FACTOR: u64 = 4;

/// Refuses to load what the server has no room for.
pub(crate) async fn check(
    publisher: &Publisher<'_>,
    staging: &Server,
    census: &Census,
    live: Option<&Meta>,
) -> Result<(), Failure> {
    let limit = metadata_keys::info(staging, "memory", "maxmemory").await?;
    if limit == 0 {
        return Ok(());
    }
    let used = metadata_keys::info(staging, "memory", "used_memory").await?;
    let held = metadata_keys::info(staging, "memory", "used_memory_dataset").await?;
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
