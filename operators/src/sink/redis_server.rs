//! Writing to a Redis server.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError};

use super::entries::Entry;
use crate::contract::{Cancel, Context, OperatorError, Result};

const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// How soon an interrupted run stops waiting for the server.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// A server, and how to write to it.
pub(super) struct Server {
    /// The address with credentials; it must not be shown.
    pub(super) url: String,
    /// The address for people.
    pub(super) shown: String,
    /// How many pipelines may wait for their answers at once.
    pub(super) in_flight: usize,
}

impl Server {
    /// Sets all keys and waits for every answer. Returns how many were set.
    pub(super) fn publish(&self, chunks: impl Iterator<Item = Result<Vec<Entry>>>, context: &Context) -> Result<u64> {
        context.runtime.block_on(async {
            tokio::select! {
                result = self.set_all(chunks, context) => result,
                () = interrupted(&context.cancel) => Err(OperatorError::Cancelled),
            }
        })
    }

    async fn set_all(&self, chunks: impl Iterator<Item = Result<Vec<Entry>>>, context: &Context) -> Result<u64> {
        let connection = self.connect().await?;
        let sends = stream::iter(chunks)
            .map(|chunk| self.set_chunk(connection.clone(), chunk))
            .buffer_unordered(self.in_flight);
        let mut sends = pin!(sends);
        let mut written = 0;
        while let Some(sent) = sends.next().await {
            let sent = sent?;
            written += sent;
            context.progress.advance(sent);
            context.cancel.check()?;
        }
        Ok(written)
    }

    async fn connect(&self) -> Result<MultiplexedConnection> {
        let client = Client::open(self.url.as_str()).map_err(|error| self.failed(&error))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| self.failed(&error))?;
        // A server that wants a password accepts connections without one; ask before anything is written.
        redis::cmd("PING")
            .exec_async(&mut connection)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(connection)
    }

    async fn set_chunk(&self, mut connection: MultiplexedConnection, chunk: Result<Vec<Entry>>) -> Result<u64> {
        let chunk = chunk?;
        let mut pipeline = redis::Pipeline::with_capacity(chunk.len());
        for entry in &chunk {
            pipeline.cmd("SET").arg(&entry.key).arg(entry.value.as_slice()).ignore();
        }
        pipeline
            .exec_async(&mut connection)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(chunk.len() as u64)
    }

    /// The error in words that help. What the client says about addresses and credentials is left out: it may quote
    /// them.
    fn failed(&self, error: &RedisError) -> OperatorError {
        let what = if error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("WRONGPASS") {
            "the server refuses the user name or the password; check the credentials in `url`".to_owned()
        } else if error.code() == Some("NOAUTH") {
            "the server wants a password; write `redis://:${secret.NAME}@host:port` as `url`".to_owned()
        } else if error.is_connection_refusal() {
            "the connection is refused; is the server running there, and is the port right?".to_owned()
        } else if error.is_timeout() {
            "the server does not answer in time; is it reachable from here?".to_owned()
        } else if error.kind() == ErrorKind::InvalidClientConfig {
            "the address is not valid; it should look like `redis://:password@host:6379/0`, with special characters \
             in the password escaped (`%40` for `@`)"
                .to_owned()
        } else if error.is_connection_dropped() {
            format!("the server closed the connection ({error}); the batch may be written in part, run it again")
        } else {
            error.to_string()
        };
        OperatorError::Server(format!("{}: {what}", self.shown))
    }
}

async fn interrupted(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(CANCEL_POLL).await;
    }
}
