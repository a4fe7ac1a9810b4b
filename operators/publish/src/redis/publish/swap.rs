//! `publish: swap`: into a staging database that is then swapped with the published one atomically.

use std::time::Duration;

use crate::redis::client::client_error::ClientError;
use crate::redis::client::server::Server;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::keyspace::capacity;
use crate::redis::keyspace::generation_metadata::GenerationMetadata;
use crate::redis::keyspace::key_version::KeyVersion;
use crate::redis::keyspace::namespace::Namespace;
use crate::redis::keyspace::ownership::{OwnedKeys, OwnershipCheck};
use crate::redis::publish::fence::Fence;
use crate::redis::publish::journal::{Journal, PublishProgress};
use crate::redis::publish::mode::{Destination, PublishMode};
use crate::redis::publish::session::{PublishSession, ScannedBatch};
use crate::redis::verify::integrity;
use towline_api::{OperatorError, Result};

/// Timeout until the server has freed the memory of removed keys.
const FREE_TIMEOUT: Duration = Duration::from_mins(1);
/// Metadata keys in a database that was loaded, beside the records: generations, owner, staging, writing.
const LOADED_METADATA_KEYS: u64 = 4;

/// Swaps the databases once: a retry after a lost reply finds the generation in place. If either database holds a number of
/// keys that is out of bounds, because somebody else has written into it, nothing is swapped and the reply is which database
/// it is (1 published, 2 staging), the number of its keys, and the bound.
const SWAP: &str = "\
local live = redis.call('GET', KEYS[1]) \
if live and cjson.decode(live)['generation'] == tonumber(ARGV[1]) then return {0, 0, 0} end \
local function lasting(database) \
  local keys, timed = string.match(redis.call('INFO', 'keyspace'), 'db' .. database .. ':keys=(%d+),expires=(%d+)') \
  return tonumber(keys or 0) - tonumber(timed or 0) end \
local function wrong(place, database, least, most, stay) \
  redis.call('SELECT', database) \
  local size, there = redis.call('DBSIZE'), lasting(database) \
  if size < least or size > most then return {place, size, most} end \
  if there > stay then return {place, there, stay} end end \
local others = wrong(2, ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])) \
  or wrong(1, ARGV[2], 0, tonumber(ARGV[7]), tonumber(ARGV[8])) \
if others then return others end \
redis.call('SELECT', ARGV[2]) \
redis.call('SWAPDB', ARGV[2], ARGV[3]) return {0, 0, 0}";

/// Bounds on the number of keys in a database when it is swapped.
struct KeyBounds {
    min: u64,
    max: u64,
    /// Maximum number of keys without a time to live.
    max_persistent: u64,
}

impl KeyBounds {
    /// Bounds of a database whose keys were checked; keys with a time to live may expire meanwhile.
    fn of(owned: OwnedKeys, metadata: Option<&GenerationMetadata>) -> Self {
        let expires = metadata.is_some_and(|metadata| metadata.ttl.is_some());
        KeyBounds {
            min: 0,
            max: owned.total,
            max_persistent: if expires { owned.metadata } else { owned.total },
        }
    }
}

/// `publish: swap`.
pub(crate) struct Swap<'a> {
    session: &'a PublishSession<'a>,
    staging: Namespace<'a>,
    published: Option<GenerationMetadata>,
    published_keys: OwnedKeys,
    staging_keys: OwnedKeys,
    /// Number of the new generation.
    generation: u64,
}

impl<'a> PublishMode<'a> for Swap<'a> {
    async fn inspect(session: &'a PublishSession<'a>) -> Result<Self, ClientError> {
        let Some(staging) = session.staging else {
            return Err(OperatorError::invalid("`publish: swap` needs a second database of one server").into());
        };
        let published = session.namespace.metadata(None, &session.options.key).await?;
        let previous = staging.metadata(None, &session.options.key).await?;
        let ownership = session.ownership_check();
        let published_keys = ownership.check(session.namespace, published.as_ref()).await?;
        let staging_keys = ownership.check(staging, previous.as_ref()).await?;
        let largest = [&published, &previous]
            .into_iter()
            .flatten()
            .map(|metadata| metadata.generation)
            .max();
        Ok(Swap {
            session,
            staging,
            generation: largest.unwrap_or(0) + 1,
            published,
            published_keys,
            staging_keys,
        })
    }

    fn published(&self) -> (Option<&GenerationMetadata>, KeyVersion) {
        (self.published.as_ref(), KeyVersion::Unversioned)
    }

    fn format(&self) -> ValueFormat {
        self.session.format
    }

    async fn start(&mut self, batch: &ScannedBatch<'_>) -> Result<Journal, ClientError> {
        self.register_staging().await?;
        let Namespace { server, keys } = self.staging;
        if let Some(progress) = self.session.resumable(server, &batch.counts).await
            && progress.generation == self.generation
            && Fence::Token(progress.token.clone()).is_held(self.staging).await?
        {
            return Ok(Journal::start(self.session.context, progress)?);
        }
        let journal = self.session.new_journal(server, self.generation, &batch.counts).await?;
        let token = &journal.progress().token;
        self.session.take_over(self.staging, token).await?;
        // Only keys that were checked may be removed, and none that came since. The fencing token is one more.
        let (total, limit) = (server.key_count().await?, self.staging_keys.limit.saturating_add(1));
        if total > limit {
            return Err(foreign_keys(server, total, limit));
        }
        flush(server).await?;
        let documents = (batch.encoder, self.session.format.value_type);
        capacity::check(server, documents, batch.counts.keys, self.published.as_ref()).await?;
        server.set(&keys.staging(), &server.database().to_string()).await?;
        server.set(&keys.owner(), &batch.counts.keys.to_string()).await?;
        server.set(&keys.writing(), token).await?;
        let records = self.session.chunk_count(&batch.counts);
        self.staging.register((self.generation, records)).await?;
        Ok(journal)
    }

    fn destination(&self, progress: &PublishProgress) -> Destination<'a> {
        Destination {
            namespace: self.staging,
            version: KeyVersion::Unversioned,
            fence: Fence::Token(progress.token.clone()),
        }
    }

    async fn clean_up(
        &self,
        _batch: &ScannedBatch<'_>,
        _progress: &PublishProgress,
        error: &ClientError,
    ) -> Result<(), ClientError> {
        // What was loaded takes memory that the published generation may need, so it goes, and a resumed run starts anew.
        if matches!(error, ClientError::Permanent(OperatorError::Server(text)) if text.contains("OOM")) {
            Journal::discard(self.session.context);
            // Chunks that are on their way must not arrive after it.
            self.staging.server.drain().await?;
            flush(self.staging.server).await?;
        }
        Ok(())
    }

    async fn commit(
        &mut self,
        batch: &ScannedBatch<'_>,
        progress: &PublishProgress,
        metadata: &GenerationMetadata,
    ) -> Result<u64, ClientError> {
        let staging = self.staging;
        let fence = Fence::Token(progress.token.clone());
        fence.check(staging).await?;
        let loaded = self.check_loaded(batch).await?;
        // The metadata takes the place of the fencing token in the number of keys.
        staging.write_metadata(None, metadata).await?;
        staging.server.unlink(&[staging.keys.writing()]).await?;
        if self.published.as_ref().is_some_and(|published| published.ttl.is_some()) {
            // Keys that have expired since would leave room for others in the count.
            let ownership = self.session.ownership_check();
            self.published_keys = ownership.check(self.session.namespace, self.published.as_ref()).await?;
        }
        let bounds = (KeyBounds::of(self.published_keys, self.published.as_ref()), loaded);
        swap_databases(self.session.namespace, staging.server, metadata.generation, bounds).await?;
        if self.session.options.keep == 0 {
            flush(staging.server).await?;
        }
        Ok(0)
    }
}

impl Swap<'_> {
    /// Stores the number of the staging database in the published one, where a run in another mode looks for it.
    async fn register_staging(&mut self) -> Result<(), ClientError> {
        let Namespace { server, keys } = self.session.namespace;
        let name = keys.staging();
        let new = u64::from(server.get(&name).await?.is_none());
        server.set(&name, &self.staging.server.database().to_string()).await?;
        self.published_keys.total += new;
        self.published_keys.metadata += new;
        Ok(())
    }

    /// Refuses a staging database with other keys than those that were written: documents, records and metadata.
    async fn check_loaded(&self, batch: &ScannedBatch<'_>) -> Result<KeyBounds, ClientError> {
        let metadata = self.session.chunk_count(&batch.counts) + LOADED_METADATA_KEYS;
        let expected = batch.counts.keys + metadata;
        let expires = self.session.format.ttl.is_some();
        let total = self.staging.server.key_count().await?;
        if total > expected || total < expected && !expires {
            return Err(foreign_keys(self.staging.server, total, expected));
        }
        if expires {
            // Some keys may have expired, but no key of somebody else may have come in their place.
            self.session.ownership_check().check(self.staging, None).await?;
        }
        Ok(KeyBounds {
            min: if expires { 0 } else { expected },
            max: expected,
            max_persistent: if expires { metadata } else { expected },
        })
    }
}

fn foreign_keys(server: &Server, total: u64, expected: u64) -> ClientError {
    OperatorError::Server(format!(
        "database {} holds {total} keys where {expected} were written: another client writes there, or the server evicts \
         keys; the published generation was left unchanged",
        server.database()
    ))
    .into()
}

/// Swaps the databases if their numbers of keys are within bounds.
async fn swap_databases(
    namespace: Namespace<'_>,
    staging: &Server,
    generation: u64,
    (published, loaded): (KeyBounds, KeyBounds),
) -> Result<(), ClientError> {
    let server = namespace.server;
    let mut command = redis::cmd("EVAL");
    let name = namespace.keys.metadata(None);
    command.arg(SWAP).arg(1).arg(name).arg(generation);
    command.arg(server.database()).arg(staging.database());
    command.arg(loaded.min).arg(loaded.max).arg(loaded.max_persistent);
    command.arg(published.max).arg(published.max_persistent);
    match server.query::<(u64, u64, u64)>(None, command).await? {
        (0, ..) => Ok(()),
        (1, total, expected) => Err(foreign_keys(server, total, expected)),
        (_, total, expected) => Err(foreign_keys(staging, total, expected)),
    }
}

/// Empties a database and waits until its memory is free.
async fn flush(server: &Server) -> Result<(), ClientError> {
    let mut command = redis::cmd("FLUSHDB");
    command.arg("ASYNC");
    server.query::<()>(None, command).await?;
    let started = std::time::Instant::now();
    while server.info("memory", "lazyfree_pending_objects").await? > 0 && started.elapsed() < FREE_TIMEOUT {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Swaps the previous generation back, if it is complete. Returns the numbers of both generations.
pub(crate) async fn roll_back(
    namespace: Namespace<'_>,
    staging: Namespace<'_>,
    ownership: &OwnershipCheck<'_>,
    key: &str,
) -> Result<(u64, u64), ClientError> {
    let published = namespace.metadata(None, key).await?;
    let previous = staging.metadata(None, key).await?;
    match (published, previous) {
        (Some(published), Some(previous)) if previous.generation < published.generation => {
            integrity::check(staging, KeyVersion::Unversioned, &previous).await?;
            let published_keys = ownership.check(namespace, Some(&published)).await?;
            let previous_keys = ownership.check(staging, Some(&previous)).await?;
            let bounds = (
                KeyBounds::of(published_keys, Some(&published)),
                KeyBounds::of(previous_keys, Some(&previous)),
            );
            swap_databases(namespace, staging.server, previous.generation, bounds).await?;
            Ok((published.generation, previous.generation))
        }
        _ => Err(OperatorError::invalid(format!(
            "database {} holds no earlier generation: `publish: swap` keeps one only with `keep: 1`",
            staging.server.database()
        ))
        .into()),
    }
}
