//! `publish: overwrite`: in place, key by key.
//!
//! A kill at any point is harmless because of the order of the steps: the generation is registered and its keys are recorded
//! before they are written, so that the next run knows of every key that may exist; the metadata is written last. While more
//! than one generation is registered, no recorded digest is trusted.

use std::collections::BTreeMap;

use crate::batch::changes::Changes;
use crate::batch::spill::Spill;
use crate::redis::client::client_error::ClientError;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::config::settings::StaleKeys;
use crate::redis::keyspace::generation_metadata::GenerationMetadata;
use crate::redis::keyspace::key_version::KeyVersion;
use crate::redis::publish::fence::Fence;
use crate::redis::publish::journal;
use crate::redis::publish::journal::{Journal, PublishProgress};
use crate::redis::publish::mode::{Destination, PreviousKeys, PublishMode};
use crate::redis::publish::session::{PublishSession, ScannedBatch};
use towline_api::Result;

/// Stale keys per request.
const STALE_KEYS_PER_REQUEST: usize = 512;

/// `publish: overwrite`.
pub(crate) struct Overwrite<'a> {
    session: &'a PublishSession<'a>,
    published: Option<GenerationMetadata>,
    /// Registered generations with the numbers of their records.
    generations: BTreeMap<u64, u64>,
    previous: Option<PreviousKeys>,
    digests_valid: bool,
    /// Whether a key of an earlier generation may expire.
    may_expire: bool,
}

impl<'a> PublishMode<'a> for Overwrite<'a> {
    async fn inspect(session: &'a PublishSession<'a>) -> Result<Self, ClientError> {
        let namespace = session.namespace;
        let published = namespace.metadata(None, &session.options.key).await?;
        let generations = namespace.generations().await?;
        let current = published.as_ref().map_or(0, |published| published.generation);
        let resumed = journal::read(session.context).map(|progress| progress.generation);

        let mut keys = Spill::new(&session.context.temp_file("earlier"));
        let mut complete = true;
        for (generation, records) in &generations {
            if Some(*generation) != resumed {
                complete &= namespace.spill_records((*generation, *records), &mut keys).await?;
            }
        }
        let no_other = generations
            .keys()
            .all(|generation| *generation == current || Some(*generation) == resumed);
        let digests_valid = complete
            && no_other
            && generations.contains_key(&current)
            && published
                .as_ref()
                .is_some_and(|published| published.encoding == session.format.value_type.name());
        // Keys that an unfinished generation has written may expire as well.
        let may_expire = !generations.is_empty()
            && published
                .as_ref()
                .is_none_or(|published| !no_other || published.ttl.is_some());
        let previous = PreviousKeys {
            keys: keys.finish()?,
            digests_valid,
        };
        Ok(Overwrite {
            session,
            published,
            generations,
            previous: Some(previous),
            digests_valid,
            may_expire,
        })
    }

    fn published(&self) -> (Option<&GenerationMetadata>, KeyVersion) {
        (self.published.as_ref(), KeyVersion::Unversioned)
    }

    fn take_previous_keys(&mut self) -> Option<PreviousKeys> {
        self.previous.take()
    }

    fn count_stale(&self, changes: &Changes) -> Result<Option<u64>> {
        match self.session.options.stale {
            StaleKeys::Keep => Ok(Some(0)),
            StaleKeys::Remove if self.digests_valid => {
                let groups = changes.stale(STALE_KEYS_PER_REQUEST)?;
                groups.map(|keys| Ok(keys?.len() as u64)).sum::<Result<u64>>().map(Some)
            }
            StaleKeys::Remove => Ok(None),
        }
    }

    fn format(&self) -> ValueFormat {
        let format = self.session.format;
        ValueFormat {
            persist: format.ttl.is_none() && self.may_expire,
            ..format
        }
    }

    async fn start(&mut self, batch: &ScannedBatch<'_>) -> Result<Journal, ClientError> {
        let namespace = self.session.namespace;
        if let Some(progress) = self.session.resumable(namespace.server, &batch.counts).await
            && Fence::Token(progress.token.clone()).is_held(namespace).await?
            && self.generations.contains_key(&progress.generation)
        {
            return Ok(Journal::start(self.session.context, progress)?);
        }
        let published = self.published.as_ref().map_or(0, |published| published.generation);
        let largest = self.generations.keys().copied().max().unwrap_or(0).max(published);
        let generation = namespace.next_generation(largest).await?;
        let journal = self
            .session
            .new_journal(namespace.server, generation, &batch.counts)
            .await?;
        let records = self.session.chunk_count(&batch.counts);
        namespace.register((generation, records)).await?;
        self.session.take_over(namespace, &journal.progress().token).await?;
        Ok(journal)
    }

    fn destination(&self, progress: &PublishProgress) -> Destination<'a> {
        Destination {
            namespace: self.session.namespace,
            version: KeyVersion::Unversioned,
            fence: Fence::Token(progress.token.clone()),
        }
    }

    async fn commit(
        &mut self,
        batch: &ScannedBatch<'_>,
        progress: &PublishProgress,
        metadata: &GenerationMetadata,
    ) -> Result<u64, ClientError> {
        let namespace = self.session.namespace;
        let fence = Fence::Token(progress.token.clone());
        fence.check(namespace).await?;
        let removed = match self.session.options.stale {
            StaleKeys::Remove => self.remove_stale(&batch.changes).await?,
            StaleKeys::Keep => 0,
        };
        namespace.write_metadata(None, metadata).await?;
        for (generation, records) in &self.generations {
            if *generation != progress.generation {
                namespace.remove_records((*generation, *records)).await?;
            }
        }
        namespace.server.unlink(&[namespace.keys.writing()]).await?;
        Ok(removed)
    }
}

impl Overwrite<'_> {
    async fn remove_stale(&self, changes: &Changes) -> Result<u64, ClientError> {
        let mut removed = 0;
        for keys in changes.stale(STALE_KEYS_PER_REQUEST)? {
            let keys = keys?;
            self.session.namespace.server.unlink(&keys).await?;
            removed += keys.len() as u64;
            self.session.context.cancel.check()?;
        }
        Ok(removed)
    }
}
