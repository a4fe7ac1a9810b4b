//! Sends all chunks, some of them at once, and waits for every answer.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};

use crate::batch::changes::Changes;
use crate::batch::chunk::Chunk;
use crate::batch::entries::Entries;
use crate::redis::client::commands::{Item, Style};
use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::keyspace::metadata_keys;
use crate::redis::keyspace::metadata_keys::{Names, add};
use crate::redis::publish::publisher::overtaken;
use crate::redis::publish::resume::Journal;
use towline_api::{Context, OperatorError, Result};

/// Keys that are read back before a generation takes its place.
const SAMPLE: u64 = 256;

/// Where keys go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Under their own names.
    Plain,
    /// Under the names of a generation.
    Generation(u64),
}

impl Place {
    /// The name that a key is stored under.
    pub(crate) fn name<'k>(self, names: &Names, key: &'k [u8]) -> Cow<'k, [u8]> {
        match self {
            Place::Plain => Cow::Borrowed(key),
            Place::Generation(generation) => Cow::Owned(names.of_generation(generation, key)),
        }
    }
}

/// What is in the server as long as no other publication has taken over.
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    /// Nobody else writes to the same keys: the token of the one who may.
    Token(String),
    /// The generation is not removed: it is announced.
    Announced(u64),
}

impl Mark {
    async fn is_there(&self, server: &Server, names: &Names) -> Result<bool, Failure> {
        match self {
            Mark::Token(token) => Ok(metadata_keys::get(server, &names.writing()).await?.as_ref() == Some(token)),
            Mark::Announced(generation) => {
                let name = names.generations();
                let mut command = redis::cmd("HEXISTS");
                command.arg(&name).arg(generation);
                server.one(Some(name.as_bytes()), command).await
            }
        }
    }
}

/// Everything that decides how chunks are sent.
pub(crate) struct Writer<'a> {
    pub(crate) server: &'a Server,
    pub(crate) style: Style,
    pub(crate) names: &'a Names,
    pub(crate) place: Place,
    /// The generation whose keys are recorded, if they are.
    pub(crate) recorded: Option<u64>,
    /// What each chunk looks for before it is sent.
    pub(crate) mark: Mark,
    pub(crate) changes: &'a Changes,
    pub(crate) chunk: usize,
    pub(crate) in_flight: usize,
    /// Keys in a second.
    pub(crate) rate: Option<u64>,
    pub(crate) context: &'a Context,
}

/// What was sent.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Keys that were written now.
    pub(crate) keys: u64,
    /// Bytes of their documents.
    pub(crate) bytes: u64,
    /// Bytes of the documents that were there already.
    pub(crate) unchanged_bytes: u64,
    /// Keys that were acknowledged in an earlier run.
    pub(crate) resumed: u64,
    pub(crate) checksum: u128,
    /// Some keys with their documents.
    pub(crate) sample: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What was sent of a chunk.
struct Sent {
    chunk: u64,
    all: u64,
    keys: u64,
    bytes: u64,
    unchanged_bytes: u64,
}

/// How many keys may be sent by when.
struct Pace {
    started: tokio::time::Instant,
    /// Keys in a second.
    rate: Option<u64>,
    /// Keys that were sent, or will be next.
    sent: AtomicU64,
}

impl Pace {
    /// Waits until so many keys more may be sent.
    async fn wait(&self, keys: u64) {
        let before = self.sent.fetch_add(keys, Ordering::Relaxed);
        if let (Some(rate), true) = (self.rate, keys > 0) {
            let due = Duration::from_secs_f64(before as f64 / rate as f64);
            tokio::time::sleep_until(self.started + due).await;
        }
    }

    /// Keys that were sent without having waited; later ones wait for them.
    fn add(&self, keys: u64) {
        self.sent.fetch_add(keys, Ordering::Relaxed);
    }
}

impl Writer<'_> {
    /// Sends the entries, those of the chunks that the journal has already left out.
    pub(crate) async fn write(
        &self,
        entries: &Entries<'_>,
        keys: u64,
        journal: &mut Journal,
    ) -> Result<Written, Failure> {
        let mut written = Written::default();
        let done = journal.progress().done;
        let every = (keys / self.chunk as u64 / SAMPLE).max(1);
        let pace = Pace {
            started: tokio::time::Instant::now(),
            rate: self.rate,
            sent: AtomicU64::new(0),
        };
        let chunks = entries.chunks(self.chunk).enumerate();
        // The chunks are encoded here, one after the other, while those before them are on their way.
        let (mut checksum, mut sample, mut resumed) = (0, Vec::new(), 0);
        let sends = stream::iter(chunks)
            .filter_map(|(index, chunk)| {
                let index = index as u64;
                let keep = chunk.map(|chunk| {
                    for (key, document) in chunk.iter() {
                        checksum = add(checksum, key, document);
                    }
                    if index.is_multiple_of(every) {
                        let (key, document) = chunk.get(0);
                        sample.push((key.to_vec(), document.to_vec()));
                    }
                    if index < done {
                        resumed += chunk.len() as u64;
                        self.context.progress.advance(chunk.len() as u64);
                        return None;
                    }
                    Some((index, chunk))
                });
                std::future::ready(keep.transpose())
            })
            .map(|chunk| self.send(chunk, &pace))
            .buffer_unordered(self.in_flight.max(1));
        {
            let mut sends = pin!(sends);
            while let Some(sent) = sends.next().await {
                let sent = sent?;
                written.keys += sent.keys;
                written.bytes += sent.bytes;
                written.unchanged_bytes += sent.unchanged_bytes;
                self.context.progress.advance(sent.all);
                self.context.cancel.check()?;
                journal.acknowledged(sent.chunk)?;
            }
        }
        written.checksum = checksum;
        written.sample = sample;
        written.resumed = resumed;
        Ok(written)
    }

    async fn send(&self, chunk: Result<(u64, Chunk)>, pace: &Pace) -> Result<Sent, Failure> {
        let (index, chunk) = chunk?;
        let unchanged = |place: usize| self.changes.is_unchanged(chunk.first + place as u64);
        let new = (0..chunk.len()).filter(|place| !unchanged(*place)).count();
        pace.wait(new as u64).await;
        if !self.mark.is_there(self.server, self.names).await? {
            return Err(overtaken());
        }
        if let Some(generation) = self.recorded {
            // Before the keys: whoever comes after a kill must know of every key that may be there.
            let name = self.names.record(generation, index);
            let mut command = redis::cmd("SET");
            command.arg(&name).arg(metadata_keys::record(&chunk));
            self.server.one::<()>(Some(name.as_bytes()), command).await?;
        }
        let names: Vec<Cow<'_, [u8]>> = chunk.iter().map(|(key, _)| self.place.name(self.names, key)).collect();
        let documents: u64 = chunk.iter().map(|(_, document)| document.len() as u64).sum();
        let (mut keys, mut bytes) = (0, 0);
        self.server
            .patiently(async || {
                (keys, bytes) = (0, 0);
                for (node, places) in self.server.owners(names.iter().map(AsRef::as_ref)).await {
                    let (same, mut changed): (Vec<usize>, Vec<usize>) =
                        places.into_iter().partition(|place| unchanged(*place));
                    if !same.is_empty() {
                        let touched: Vec<&[u8]> = same.iter().map(|place| names[*place].as_ref()).collect();
                        let gone = self.style.touch(self.server, node, &touched).await?;
                        pace.add(gone.len() as u64);
                        changed.extend(gone.into_iter().map(|place| same[place]));
                    }
                    let items: Vec<Item<'_>> = changed
                        .iter()
                        .map(|place| (names[*place].as_ref(), chunk.get(*place).1))
                        .collect();
                    self.style.write(self.server, node, &items).await?;
                    keys += items.len() as u64;
                    bytes += items.iter().map(|(_, document)| document.len() as u64).sum::<u64>();
                }
                Ok(())
            })
            .await?;
        Ok(Sent {
            chunk: index,
            all: chunk.len() as u64,
            keys,
            bytes,
            unchanged_bytes: documents - bytes,
        })
    }

    /// Reads some keys back.
    pub(crate) async fn verify(&self, written: &Written) -> Result<(), Failure> {
        let names: Vec<Cow<'_, [u8]>> = written
            .sample
            .iter()
            .map(|(key, _)| self.place.name(self.names, key))
            .collect();
        let keys: Vec<&[u8]> = names.iter().map(AsRef::as_ref).collect();
        let found = self.style.read(self.server, &keys).await?;
        for ((key, document), found) in written.sample.iter().zip(found) {
            if !found.as_ref().is_some_and(|found| self.style.equal(document, found)) {
                let what = if found.is_some() {
                    "holds something else"
                } else {
                    "is gone"
                };
                return Err(OperatorError::Server(format!(
                    "the key `{}` was written and {what} now: does somebody else write here, or does the server evict \
                     keys (`maxmemory-policy`)?",
                    String::from_utf8_lossy(key)
                ))
                .into());
            }
        }
        Ok(())
    }
}
