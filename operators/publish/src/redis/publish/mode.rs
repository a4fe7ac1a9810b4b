//! Publish mode: how a new generation replaces the published one.

use crate::batch::changes::Changes;
use crate::batch::spill::{PreviousKey, Spilled};
use crate::redis::client::client_error::ClientError;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::keyspace::generation_metadata::GenerationMetadata;
use crate::redis::keyspace::key_version::KeyVersion;
use crate::redis::keyspace::namespace::Namespace;
use crate::redis::publish::fence::Fence;
use crate::redis::publish::journal::{Journal, PublishProgress};
use crate::redis::publish::session::{PublishSession, ScannedBatch};
use towline_api::Result;

/// Recorded keys of earlier generations.
pub(crate) struct PreviousKeys {
    pub(crate) keys: Spilled<PreviousKey>,
    /// Whether their digests are those of the published documents.
    pub(crate) digests_valid: bool,
}

/// Where and under which condition the keys of a generation are written.
pub(crate) struct Destination<'a> {
    pub(crate) namespace: Namespace<'a>,
    pub(crate) version: KeyVersion,
    pub(crate) fence: Fence,
}

/// Publish mode. The publisher calls its methods in the order in which they stand here; none is called after an error
/// except `clean_up`.
pub(crate) trait PublishMode<'a>: Sized {
    /// Reads the state of the server.
    async fn inspect(session: &'a PublishSession<'a>) -> Result<Self, ClientError>;

    /// Metadata of the published generation, if there is one, and the version of its keys.
    fn published(&self) -> (Option<&GenerationMetadata>, KeyVersion);

    /// Recorded keys to compare the batch with.
    fn take_previous_keys(&mut self) -> Option<PreviousKeys> {
        None
    }

    /// Number of stale keys, if it is known before the batch is written.
    fn count_stale(&self, _changes: &Changes) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Format of the values.
    fn format(&self) -> ValueFormat;

    /// Resumes an interrupted generation or starts a new one.
    async fn start(&mut self, batch: &ScannedBatch<'_>) -> Result<Journal, ClientError>;

    /// Destination of the generation that was started.
    fn destination(&self, progress: &PublishProgress) -> Destination<'a>;

    /// Cleans up after the batch could not be written.
    async fn clean_up(
        &self,
        _batch: &ScannedBatch<'_>,
        _progress: &PublishProgress,
        _error: &ClientError,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    /// Publishes the generation that was written. Returns the number of keys that it removed.
    async fn commit(
        &mut self,
        batch: &ScannedBatch<'_>,
        progress: &PublishProgress,
        metadata: &GenerationMetadata,
    ) -> Result<u64, ClientError>;
}
