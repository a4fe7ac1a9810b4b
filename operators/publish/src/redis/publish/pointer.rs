//! `publish: pointer`: versioned keys, and one key with the number of the published generation.
//!
//! Readers get the number from `RECS:CURRENT` and then `RECS:<number>:{<key>}`, for as many keys as belong together, or call
//! the reader function. A generation that was published stays readable until the one after the next is published.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::redis::client::client_error::ClientError;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::keyspace::generation_metadata::GenerationMetadata;
use crate::redis::keyspace::key_records::RecordedGeneration;
use crate::redis::keyspace::key_version::KeyVersion;
use crate::redis::keyspace::namespace::Namespace;
use crate::redis::publish::fence::Fence;
use crate::redis::publish::journal::{Journal, PublishProgress};
use crate::redis::publish::mode::{Destination, PublishMode};
use crate::redis::publish::reader_function;
use crate::redis::publish::session::{PublishSession, ScannedBatch};
use crate::redis::verify::integrity;
use towline_api::{OperatorError, Result};

/// Rate at which old keys are removed, low enough that readers do not notice.
const REMOVED_PER_SECOND: u64 = 50_000;

/// Increases the number of the published generation and returns it. It never decreases, so a retry is harmless.
const ADVANCE: &str = "\
local now = tonumber(redis.call('GET', KEYS[1]) or '0') \
if now >= tonumber(ARGV[1]) then return now end \
redis.call('SET', KEYS[1], ARGV[1]) return tonumber(ARGV[1])";

/// `publish: pointer`.
pub(crate) struct Pointer<'a> {
    session: &'a PublishSession<'a>,
    /// Number of the published generation.
    current: Option<u64>,
    published: Option<GenerationMetadata>,
    /// Registered generations with the numbers of their records.
    generations: BTreeMap<u64, u64>,
}

impl<'a> PublishMode<'a> for Pointer<'a> {
    async fn inspect(session: &'a PublishSession<'a>) -> Result<Self, ClientError> {
        let namespace = session.namespace;
        let current = namespace.current_generation().await?;
        let published = match current {
            Some(_) => namespace.metadata(current, &session.options.key).await?,
            None => None,
        };
        Ok(Pointer {
            session,
            current,
            published,
            generations: namespace.generations().await?,
        })
    }

    fn published(&self) -> (Option<&GenerationMetadata>, KeyVersion) {
        (
            self.published.as_ref(),
            KeyVersion::Generation(self.current.unwrap_or(0)),
        )
    }

    fn format(&self) -> ValueFormat {
        self.session.format
    }

    async fn start(&mut self, batch: &ScannedBatch<'_>) -> Result<Journal, ClientError> {
        let Namespace { server, keys } = self.session.namespace;
        let current = self.current.unwrap_or(0);
        if let Some(progress) = self.session.resumable(server, &batch.counts).await
            && progress.generation > current
            && self.generations.contains_key(&progress.generation)
        {
            return Ok(Journal::start(self.session.context, progress)?);
        }
        let largest = self.generations.keys().copied().max().unwrap_or(0).max(current);
        let generation = self.session.namespace.next_generation(largest).await?;
        let journal = self.session.new_journal(server, generation, &batch.counts).await?;
        // First of all: a run in another mode must be able to tell whose unfinished generation this is.
        let name = keys.current();
        let mut command = redis::cmd("SET");
        command.arg(&name).arg(0).arg("NX");
        server.query::<Option<String>>(Some(name.as_bytes()), command).await?;
        self.register(batch, generation).await?;
        Ok(journal)
    }

    fn destination(&self, progress: &PublishProgress) -> Destination<'a> {
        Destination {
            namespace: self.session.namespace,
            version: KeyVersion::Generation(progress.generation),
            fence: Fence::Generation(progress.generation),
        }
    }

    async fn clean_up(
        &self,
        batch: &ScannedBatch<'_>,
        progress: &PublishProgress,
        _error: &ClientError,
    ) -> Result<(), ClientError> {
        // A later run may have removed this generation while some chunks were on their way: the next run must know of them.
        // If the server is gone this fails as well, and the error is the same.
        let _ = self.register(batch, progress.generation).await;
        Ok(())
    }

    async fn commit(
        &mut self,
        _batch: &ScannedBatch<'_>,
        progress: &PublishProgress,
        metadata: &GenerationMetadata,
    ) -> Result<u64, ClientError> {
        let namespace = self.session.namespace;
        namespace.write_metadata(Some(progress.generation), metadata).await?;
        self.advance(progress.generation).await?;
        self.remove_old(progress.generation).await
    }
}

impl Pointer<'_> {
    async fn register(&self, batch: &ScannedBatch<'_>, generation: u64) -> Result<(), ClientError> {
        let records = self.session.chunk_count(&batch.counts);
        self.session.namespace.register((generation, records)).await
    }

    /// Publishes a generation, unless a later one is published already.
    async fn advance(&self, generation: u64) -> Result<(), ClientError> {
        let namespace = self.session.namespace;
        let superseded = |now: u64| -> ClientError {
            OperatorError::Server(format!(
                "generation {now} was published meanwhile; generation {generation} is older and does not replace it"
            ))
            .into()
        };
        let now = namespace.current_generation().await?;
        if let Some(now) = now.filter(|now| *now > generation) {
            return Err(superseded(now));
        }
        reader_function::install(namespace, self.session.format.value_type, generation).await?;
        let name = namespace.keys.current();
        let mut command = redis::cmd("EVAL");
        command.arg(ADVANCE).arg(1).arg(&name).arg(generation);
        let now: u64 = namespace.server.query(Some(name.as_bytes()), command).await?;
        if now == generation {
            Ok(())
        } else {
            Err(superseded(now))
        }
    }

    /// Removes the generations before this one except those to keep: first of all the one that was published until now,
    /// which may still be read. Unfinished generations are removed as well.
    async fn remove_old(&self, generation: u64) -> Result<u64, ClientError> {
        let Namespace { server, keys } = self.session.namespace;
        let generations = self.session.namespace.generations().await?;
        let older: Vec<RecordedGeneration> = generations
            .into_iter()
            .filter(|(older, _)| *older < generation)
            .collect();
        let mut kept = Vec::new();
        for (older, _) in &older {
            if server.get(&keys.metadata(Some(*older))).await?.is_some() {
                kept.push(*older);
            }
        }
        kept.sort_by_key(|older| (Some(*older) != self.current, u64::MAX - older));
        kept.truncate(self.session.options.keep as usize);
        let mut removed = 0;
        for older in older {
            if !kept.contains(&older.0) {
                removed += self.remove_generation(older).await?;
            }
        }
        Ok(removed)
    }

    async fn remove_generation(&self, generation: RecordedGeneration) -> Result<u64, ClientError> {
        let Namespace { server, keys } = self.session.namespace;
        let mut removed = 0;
        // A rollback must not find half a generation.
        server.unlink(&[keys.metadata(Some(generation.0))]).await?;
        let namespace = self.session.namespace;
        let remove = async |recorded: Vec<(u64, &[u8])>| {
            self.session.context.cancel.check()?;
            let stored: Vec<Vec<u8>> = recorded
                .iter()
                .map(|(_, key)| keys.of_generation(generation.0, key))
                .collect();
            server.unlink(&stored).await?;
            removed += stored.len() as u64;
            let pause = stored.len() as f64 / REMOVED_PER_SECOND as f64;
            tokio::time::sleep(Duration::from_secs_f64(pause)).await;
            Ok(())
        };
        namespace.for_each_record(generation, remove).await?;
        namespace.remove_records(generation).await?;
        Ok(removed)
    }
}

/// Publishes the previous generation again, if it is complete. Returns the numbers of both generations.
pub(crate) async fn roll_back(namespace: Namespace<'_>, key: &str) -> Result<(u64, u64), ClientError> {
    let none = || -> ClientError {
        OperatorError::invalid("there is no earlier generation to roll back to: `keep` is how many are kept").into()
    };
    let now = namespace.current_generation().await?.ok_or_else(none)?;
    let generations = namespace.generations().await?;
    for older in generations.into_keys().rev().filter(|older| *older < now) {
        if let Some(metadata) = namespace.metadata(Some(older), key).await? {
            integrity::check(namespace, KeyVersion::Generation(older), &metadata).await?;
            reader_function::install(namespace, metadata.value_type(), older).await?;
            let name = namespace.keys.current();
            namespace.server.set(&name, &older.to_string()).await?;
            return Ok((now, older));
        }
    }
    Err(none())
}
