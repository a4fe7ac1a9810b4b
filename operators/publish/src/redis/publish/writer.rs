//! Chunk writer: sends chunks concurrently and waits for every reply.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};

use crate::batch::changes::Changes;
use crate::batch::chunk::Chunk;
use crate::batch::row_encoder::RowEncoder;
use crate::redis::client::client_error::ClientError;
use crate::redis::client::value_format::{Item, ValueFormat};
use crate::redis::keyspace::key_records;
use crate::redis::keyspace::key_records::add_to_checksum;
use crate::redis::publish::journal::Journal;
use crate::redis::publish::mode::Destination;
use crate::redis::publish::session::PublishSession;
use towline_api::{OperatorError, Result};

/// Number of keys that are read back before a generation is published.
const SAMPLE_SIZE: u64 = 256;

/// Writes the chunks of a batch to its destination.
pub(crate) struct ChunkWriter<'a> {
    pub(crate) session: &'a PublishSession<'a>,
    pub(crate) destination: &'a Destination<'a>,
    pub(crate) format: ValueFormat,
    /// Generation whose keys are recorded.
    pub(crate) generation: u64,
    pub(crate) changes: &'a Changes,
}

/// Result of writing a batch.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Keys that were written.
    pub(crate) keys: u64,
    /// Bytes of the documents that were written.
    pub(crate) bytes: u64,
    /// Bytes of the documents that were published already.
    pub(crate) unchanged_bytes: u64,
    /// Keys that an interrupted run had written.
    pub(crate) resumed: u64,
    pub(crate) checksum: u128,
    /// Sample of keys with their documents.
    pub(crate) sample: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Result of writing a chunk.
struct ChunkResult {
    chunk: u64,
    total: u64,
    keys: u64,
    bytes: u64,
    unchanged_bytes: u64,
}

/// Rate limiter.
struct RateLimiter {
    started: tokio::time::Instant,
    /// Keys per second.
    rate: Option<u64>,
    /// Keys that were sent or are about to be sent.
    sent: AtomicU64,
}

impl RateLimiter {
    /// Waits until `keys` more may be sent.
    async fn wait(&self, keys: u64) {
        let before = self.sent.fetch_add(keys, Ordering::Relaxed);
        if let (Some(rate), true) = (self.rate, keys > 0) {
            let due = Duration::from_secs_f64(before as f64 / rate as f64);
            tokio::time::sleep_until(self.started + due).await;
        }
    }

    /// Counts keys that were sent without waiting; later ones wait for them.
    fn add(&self, keys: u64) {
        self.sent.fetch_add(keys, Ordering::Relaxed);
    }
}

impl ChunkWriter<'_> {
    /// Writes the batch except for chunks that the journal has as acknowledged.
    pub(crate) async fn write(
        &self,
        encoder: &RowEncoder<'_>,
        keys: u64,
        journal: &mut Journal,
    ) -> Result<Written, ClientError> {
        let mut written = Written::default();
        let done = journal.progress().done;
        let options = self.session.options;
        let context = self.session.context;
        let sample_interval = (keys / options.chunk as u64 / SAMPLE_SIZE).max(1);
        let limiter = RateLimiter {
            started: tokio::time::Instant::now(),
            rate: options.rate_limit,
            sent: AtomicU64::new(0),
        };
        let chunks = encoder.chunks(options.chunk).enumerate();
        // Chunks are encoded here one after the other while earlier ones are on their way.
        let (mut checksum, mut sample, mut resumed) = (0, Vec::new(), 0);
        let sends = stream::iter(chunks)
            .filter_map(|(index, chunk)| {
                let index = index as u64;
                let keep = chunk.map(|chunk| {
                    for (key, document) in chunk.iter() {
                        checksum = add_to_checksum(checksum, key, document);
                    }
                    if index.is_multiple_of(sample_interval) {
                        let (key, document) = chunk.get(0);
                        sample.push((key.to_vec(), document.to_vec()));
                    }
                    if index < done {
                        resumed += chunk.len() as u64;
                        context.progress.advance(chunk.len() as u64);
                        return None;
                    }
                    Some((index, chunk))
                });
                std::future::ready(keep.transpose())
            })
            .map(|chunk| self.send(chunk, &limiter))
            .buffer_unordered(options.in_flight.max(1));
        {
            let mut sends = pin!(sends);
            while let Some(sent) = sends.next().await {
                let sent = sent?;
                written.keys += sent.keys;
                written.bytes += sent.bytes;
                written.unchanged_bytes += sent.unchanged_bytes;
                context.progress.advance(sent.total);
                context.cancel.check()?;
                journal.acknowledge(sent.chunk)?;
            }
        }
        written.checksum = checksum;
        written.sample = sample;
        written.resumed = resumed;
        Ok(written)
    }

    async fn send(&self, chunk: Result<(u64, Chunk)>, limiter: &RateLimiter) -> Result<ChunkResult, ClientError> {
        let (index, chunk) = chunk?;
        let Destination {
            namespace,
            version,
            fence,
        } = self.destination;
        let server = namespace.server;
        let unchanged = |index: usize| self.changes.is_unchanged(chunk.first + index as u64);
        let new = (0..chunk.len()).filter(|index| !unchanged(*index)).count();
        limiter.wait(new as u64).await;
        fence.check(*namespace).await?;
        // Recorded before they are written: after a kill the next run must know of every key that may exist.
        let record = namespace.keys.record(self.generation, index);
        let mut command = redis::cmd("SET");
        command.arg(&record).arg(key_records::encode(&chunk));
        server.query::<()>(Some(record.as_bytes()), command).await?;
        let keys_of_chunk: Vec<Cow<'_, [u8]>> = chunk
            .iter()
            .map(|(key, _)| version.stored_key(namespace.keys, key))
            .collect();
        let documents: u64 = chunk.iter().map(|(_, document)| document.len() as u64).sum();
        let (mut keys, mut bytes) = (0, 0);
        server
            .with_retry(async || {
                (keys, bytes) = (0, 0);
                for (node, indices) in server.group_by_node(keys_of_chunk.iter().map(AsRef::as_ref)).await {
                    let (same, mut changed): (Vec<usize>, Vec<usize>) =
                        indices.into_iter().partition(|index| unchanged(*index));
                    if !same.is_empty() {
                        let touched: Vec<&[u8]> = same.iter().map(|index| keys_of_chunk[*index].as_ref()).collect();
                        let missing = self.format.touch(server, node, &touched).await?;
                        limiter.add(missing.len() as u64);
                        changed.extend(missing.into_iter().map(|index| same[index]));
                    }
                    let items: Vec<Item<'_>> = changed
                        .iter()
                        .map(|index| (keys_of_chunk[*index].as_ref(), chunk.get(*index).1))
                        .collect();
                    self.format.write(server, node, &items).await?;
                    keys += items.len() as u64;
                    bytes += items.iter().map(|(_, document)| document.len() as u64).sum::<u64>();
                }
                Ok(())
            })
            .await?;
        Ok(ChunkResult {
            chunk: index,
            total: chunk.len() as u64,
            keys,
            bytes,
            unchanged_bytes: documents - bytes,
        })
    }

    /// Reads the sample back.
    pub(crate) async fn verify(&self, written: &Written) -> Result<(), ClientError> {
        let Destination { namespace, version, .. } = self.destination;
        let stored: Vec<Cow<'_, [u8]>> = written
            .sample
            .iter()
            .map(|(key, _)| version.stored_key(namespace.keys, key))
            .collect();
        let keys: Vec<&[u8]> = stored.iter().map(AsRef::as_ref).collect();
        let found = self.format.read(namespace.server, &keys).await?;
        for ((key, document), found) in written.sample.iter().zip(found) {
            let what = match found {
                Some(found) if self.format.equal(document, &found) => continue,
                Some(_) => "has another value",
                None => "is missing",
            };
            return Err(OperatorError::Server(format!(
                "the key `{}` was written and {what} now: does another client write here, or does the server evict keys \
                 (`maxmemory-policy`)?",
                String::from_utf8_lossy(key)
            ))
            .into());
        }
        Ok(())
    }
}
