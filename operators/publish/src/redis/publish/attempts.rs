//! Attempts: a batch is published anew if the server was restarted or replaced meanwhile.

use std::time::Duration;

use crate::batch::row_encoder::RowEncoder;
use crate::redis::client::client_error::ClientError;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::value_format::negotiate_format;
use crate::redis::config::settings::Encoding;
use crate::redis::keyspace::metadata_keys::MetadataKeys;
use crate::redis::keyspace::namespace::Namespace;
use crate::redis::publish::journal::Journal;
use crate::redis::publish::options::PublishOptions;
use crate::redis::publish::publisher;
use crate::redis::publish::receipt::PublishOutcome;
use crate::redis::publish::session::PublishSession;
use towline_api::{Cancel, Context, OperatorError, Result};

/// Interval at which cancellation is checked while a request is pending.
const CANCEL_POLL: Duration = Duration::from_millis(100);
/// Number of attempts after the first one.
const RETRIES: usize = 2;

/// Batch with everything that says how to publish it.
pub(crate) struct PublishJob<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// Number of the staging database.
    pub(crate) staging: Option<i64>,
    pub(crate) options: &'a PublishOptions,
    pub(crate) encoder: &'a RowEncoder<'a>,
    pub(crate) encoding: Encoding,
    pub(crate) ttl: Option<u64>,
    /// Content digest of the model.
    pub(crate) model: Option<String>,
    pub(crate) context: &'a Context,
}

impl PublishJob<'_> {
    /// Publishes the batch.
    pub(crate) fn run(&self) -> Result<PublishOutcome> {
        let result = self.context.runtime.block_on(async {
            let mut retries = 0;
            loop {
                let result = tokio::select! {
                    result = self.attempt() => result,
                    () = cancelled(&self.context.cancel) => Err(OperatorError::Cancelled.into()),
                };
                match result {
                    Err(ClientError::ServerReplaced(why)) if retries < RETRIES => {
                        retries += 1;
                        Journal::discard(self.context);
                        let note = format!("{why}; the batch is written again");
                        self.context.progress.note(&note);
                    }
                    result => return result,
                }
            }
        });
        result.map_err(|error| self.endpoint.describe_error(error))
    }

    async fn attempt(&self) -> Result<PublishOutcome, ClientError> {
        let server = self.endpoint.open(self.endpoint.database()).await?;
        let staging = match self.staging {
            Some(database) => Some(self.endpoint.open(database).await?),
            None => None,
        };
        let keys = &MetadataKeys(self.endpoint.namespace.clone());
        let session = PublishSession {
            namespace: Namespace { server: &server, keys },
            staging: staging.as_ref().map(|server| Namespace { server, keys }),
            options: self.options,
            format: negotiate_format(&server, self.encoding, self.ttl).await?,
            context: self.context,
        };
        publisher::publish(&session, self.encoder, self.model.as_deref()).await
    }
}

async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(CANCEL_POLL).await;
    }
}
