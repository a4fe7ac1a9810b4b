//! What all ways of publishing share.

use std::time::Duration;

use super::book::{self, Meta, Names};
use super::commands::Style;
use super::connection::Failure;
use super::gates::{self, Changed};
use super::resume::{self, Journal, Progress};
use super::server::Server;
use super::settings::{Gates, Publish, Stale};
use super::writer::{Mark, Place, Writer, Written};
use crate::contract::{Context, OperatorError, Result};
use crate::sink::changes::Changes;
use crate::sink::entries::{Census, Entries};
use crate::sink::key_pattern::KeyPattern;
use crate::sink::spill::{Earlier, Row, Spill, Spilled};

/// How long a publication that was overtaken may take for the chunks that it has sent.
const GRACE: Duration = Duration::from_secs(1);

/// The parameters that say how.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// The pattern of the keys, as it is written.
    pub(super) key: String,
    pub(super) pattern: KeyPattern,
    pub(super) publish: Publish,
    pub(super) stale: Stale,
    /// Earlier generations that stay.
    pub(super) keep: u64,
    pub(super) gates: Gates,
    pub(super) chunk: usize,
    pub(super) in_flight: usize,
    pub(super) rate: Option<u64>,
    /// Whether nothing may take the place of something.
    pub(super) allow_empty: bool,
}

/// A publication to a server.
pub(super) struct Publisher<'a> {
    pub(super) manner: &'a Manner,
    pub(super) entries: &'a Entries<'a>,
    pub(super) context: &'a Context,
    pub(super) server: &'a Server,
    pub(super) style: Style,
    pub(super) names: &'a Names,
    /// The content digest of the model.
    pub(super) model: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) census: Census,
    pub(super) written: Written,
    pub(super) meta: Meta,
    /// Documents that were there already.
    pub(super) unchanged: u64,
    /// Keys of earlier generations that were removed.
    pub(super) removed: u64,
    /// What `max_change` has found, if it was asked for.
    pub(super) changed: Option<Changed>,
}

impl Publisher<'_> {
    /// Publishes in the way that was asked for.
    pub(super) async fn publish(&self, staging: Option<&Server>) -> Result<Outcome, Failure> {
        super::modes::check(self.server, staging, self.names, self.manner).await?;
        match (self.manner.publish, staging) {
            (Publish::Overwrite, _) => super::overwrite::publish(self).await,
            (Publish::Pointer, _) => super::pointer::publish(self).await,
            (Publish::Swap, Some(staging)) => super::swap::publish(self, staging).await,
            (Publish::Swap, None) => {
                Err(OperatorError::invalid("`publish: swap` needs a second database of one server").into())
            }
        }
    }

    /// Counts the keys, checks that no two rows have the same, and compares them with those of earlier generations.
    /// `current` says whether what the earlier ones say of documents still holds.
    pub(super) fn look(&self, earlier: Option<&Spilled<Earlier>>, current: bool) -> Result<(Census, Changes)> {
        let lists = self.manner.gates.min_coverage.is_some();
        let (census, rows) = self.entries.census(self.context, current, lists)?;
        let rows = rows.finish()?;
        let changes = self.compare(&rows, census.keys, earlier, current)?;
        gates::check_counts(&self.manner.gates, &census)?;
        self.context.progress.begin("keys", Some(census.keys));
        Ok((census, changes))
    }

    fn compare(
        &self,
        rows: &Spilled<Row>,
        keys: u64,
        earlier: Option<&Spilled<Earlier>>,
        current: bool,
    ) -> Result<Changes> {
        let stale = self.context.temp_file("stale");
        Changes::find(rows, keys, earlier, current, &stale)?.map_err(|row| self.entries.duplicate(row))
    }

    /// A place for the keys of earlier generations.
    pub(super) fn earlier(&self) -> Spill<Earlier> {
        Spill::new(&self.context.temp_file("earlier"))
    }

    /// Compares with what readers see, a generation whose meta this is, in `place`: nothing must not take the place of
    /// something, and then there is `max_change`. `gone` is how many of its users the new generation does not have, if that
    /// is known already.
    pub(super) async fn check_change(
        &self,
        live: Option<&Meta>,
        place: Place,
        (census, changes): (&Census, &Changes),
        gone: Option<u64>,
    ) -> Result<Option<Changed>, Failure> {
        if let Some(live) = live {
            gates::check_empty(self.manner.allow_empty, live.rows, census)?;
        }
        let (Some(limit), Some(live)) = (self.manner.gates.max_change, live) else {
            return Ok(None);
        };
        if live.ttl.is_some_and(|ttl| live.time.saturating_add(ttl) <= book::now()) {
            // Its keys have gone by themselves; readers see nothing that could change.
            return Ok(None);
        }
        let style = Style {
            stored: live.stored(),
            ..self.style
        };
        let place = (self.names, place);
        let mut changed = gates::compare(limit, self.entries, (self.server, style), place, changes).await?;
        changed.gone = gone.unwrap_or_else(|| live.rows.saturating_sub(changed.users));
        gates::check_change(limit, changed)?;
        Ok(Some(changed))
    }

    /// How many chunks there are.
    pub(super) fn chunks(&self, census: &Census) -> u64 {
        census.keys.div_ceil(self.manner.chunk as u64)
    }

    /// What an earlier run has left of this publication, if the server is still the one it went to.
    pub(super) async fn left_behind(&self, server: &Server, census: &Census) -> Option<Progress> {
        let progress = resume::left_behind(self.context)?;
        let same = progress.keys == census.keys
            && progress.chunk == self.manner.chunk as u64
            && progress.processes == server.processes().await;
        same.then_some(progress)
    }

    /// A journal of a publication that begins.
    pub(super) async fn begin(&self, server: &Server, generation: u64, census: &Census) -> Result<Journal, Failure> {
        let progress = Progress {
            token: resume::token(),
            generation,
            processes: server.processes().await,
            chunk: self.manner.chunk as u64,
            keys: census.keys,
            done: 0,
        };
        Ok(Journal::begin(self.context, progress)?)
    }

    /// Marks this publication as the one that writes. Another one that is at it notices before its next chunk; what it has
    /// sent already is waited for.
    pub(super) async fn mark(&self, server: &Server, token: &str) -> Result<(), Failure> {
        let name = self.names.writing();
        let before = book::get(server, &name).await?;
        book::set(server, &name, token).await?;
        if before.is_some_and(|before| before != token) {
            tokio::time::sleep(GRACE).await;
        }
        Ok(())
    }

    /// Writes all keys, and reads some of them back. Nothing may have been evicted meanwhile.
    pub(super) async fn load(
        &self,
        server: &Server,
        place: Place,
        recorded: Option<u64>,
        changes: &Changes,
        census: &Census,
        journal: &mut Journal,
    ) -> Result<Written, Failure> {
        let writer = Writer {
            server,
            style: self.style,
            names: self.names,
            place,
            recorded,
            mark: match self.manner.publish {
                Publish::Pointer => Mark::Announced(journal.progress().generation),
                Publish::Overwrite | Publish::Swap => Mark::Token(journal.progress().token.clone()),
            },
            changes,
            chunk: self.manner.chunk,
            in_flight: self.manner.in_flight,
            rate: self.manner.rate,
            context: self.context,
        };
        let before = book::info(server, "stats", "evicted_keys").await?;
        let mut written = writer.write(self.entries, census.keys, journal).await;
        if let Ok(all) = &written
            && let Err(wrong) = writer.verify(all).await
        {
            written = Err(wrong);
        }
        if !matches!(&written, Ok(_) | Err(Failure::Final(_))) {
            return written;
        }
        // Looked at in any case: also what is written beside the keys may have been evicted, which looks like another run.
        let evicted = book::info(server, "stats", "evicted_keys")
            .await?
            .saturating_sub(before);
        if evicted > 0 {
            return Err(OperatorError::Server(format!(
                "the server has evicted {evicted} keys while the batch was written: it is not whole; raise `maxmemory`"
            ))
            .into());
        }
        written
    }

    /// What is said of the generation.
    pub(super) fn meta(&self, generation: u64, census: &Census, written: &Written) -> Meta {
        Meta {
            generation,
            rows: census.keys,
            checksum: format!("{:032x}", written.checksum),
            model: self.model.clone(),
            time: book::now(),
            key: self.manner.key.clone(),
            encoding: self.style.stored.word().to_owned(),
            publish: Some(self.manner.publish),
            ttl: self.style.ttl,
        }
    }
}

/// A meta as it is stored.
pub(super) fn json(meta: &Meta) -> Result<String> {
    serde_json::to_string(meta).map_err(|error| OperatorError::invalid(error.to_string()))
}

/// The error of a publication that another one has overtaken.
pub(super) fn overtaken() -> Failure {
    OperatorError::Server(
        "another run has begun to publish here meanwhile, and goes on; what this run wrote does not count".to_owned(),
    )
    .into()
}
