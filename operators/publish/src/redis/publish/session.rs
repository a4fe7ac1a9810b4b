//! Session: everything that a publish mode may use of a publication.

use std::time::Duration;

use crate::batch::changes::Changes;
use crate::batch::row_encoder::{EntryCounts, RowEncoder};
use crate::redis::client::client_error::ClientError;
use crate::redis::client::server::Server;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::keyspace::namespace::Namespace;
use crate::redis::keyspace::ownership::OwnershipCheck;
use crate::redis::publish::journal;
use crate::redis::publish::journal::{Journal, PublishProgress};
use crate::redis::publish::options::PublishOptions;
use towline_api::Context;

/// Pause after a take-over: the superseded run may have sent chunks that are still on their way.
const TAKE_OVER_PAUSE: Duration = Duration::from_secs(1);

/// Connections, options and context of one publication.
pub(crate) struct PublishSession<'a> {
    /// Namespace in the published database.
    pub(crate) namespace: Namespace<'a>,
    /// Namespace in the staging database, for `publish: swap`.
    pub(crate) staging: Option<Namespace<'a>>,
    pub(crate) options: &'a PublishOptions,
    pub(crate) format: ValueFormat,
    pub(crate) context: &'a Context,
}

/// Batch after its rows were counted and compared with earlier generations.
pub(crate) struct ScannedBatch<'a> {
    pub(crate) encoder: &'a RowEncoder<'a>,
    pub(crate) counts: EntryCounts,
    pub(crate) changes: Changes,
}

impl PublishSession<'_> {
    /// Number of chunks, each of which has a record.
    pub(crate) fn chunk_count(&self, counts: &EntryCounts) -> u64 {
        counts.keys.div_ceil(self.options.chunk as u64)
    }

    /// Progress of an interrupted run that published the same batch to the same server processes.
    pub(crate) async fn resumable(&self, server: &Server, counts: &EntryCounts) -> Option<PublishProgress> {
        let progress = journal::read(self.context)?;
        let same = progress.keys == counts.keys
            && progress.chunk == self.options.chunk as u64
            && progress.processes == server.process_ids().await;
        same.then_some(progress)
    }

    /// Starts the journal of a new generation.
    pub(crate) async fn new_journal(
        &self,
        server: &Server,
        generation: u64,
        counts: &EntryCounts,
    ) -> Result<Journal, ClientError> {
        let progress = PublishProgress {
            token: journal::new_token(),
            generation,
            processes: server.process_ids().await,
            chunk: self.options.chunk as u64,
            keys: counts.keys,
            done: 0,
        };
        Ok(Journal::start(self.context, progress)?)
    }

    /// Writes a fencing token. A run that was writing notices it before its next chunk.
    pub(crate) async fn take_over(
        &self,
        Namespace { server, keys }: Namespace<'_>,
        token: &str,
    ) -> Result<(), ClientError> {
        let name = keys.writing();
        let before = server.get(&name).await?;
        server.set(&name, token).await?;
        if before.is_some_and(|before| before != token) {
            tokio::time::sleep(TAKE_OVER_PAUSE).await;
        }
        Ok(())
    }

    /// Check that a database holds only the sink's own keys.
    pub(crate) fn ownership_check(&self) -> OwnershipCheck<'_> {
        OwnershipCheck {
            pattern: &self.options.pattern,
            temp: self.context.temp(),
            cancel: &self.context.cancel,
        }
    }
}
