//! What all ways of publishing share.

use std::time::Duration;

use crate::batch::changes::Changes;
use crate::batch::entries::{Census, Entries};
use crate::batch::spill::{Earlier, Row, Spill, Spilled};
use crate::key_pattern::KeyPattern;
use crate::redis::client::commands::Style;
use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::config::settings::{Gates, Publish, Stale};
use crate::redis::keyspace::metadata_keys;
use crate::redis::keyspace::metadata_keys::{Meta, Names};
use crate::redis::publish::gates::Changed;
use crate::redis::publish::resume::{Journal, Progress};
use crate::redis::publish::writer::{Mark, Place, Writer, Written};
use crate::redis::publish::{gates, resume};
use towline_api::{Context, OperatorError, Result};

/// How long a publication that was overtaken may take for the chunks that it has sent.
const GRACE: Duration = Duration::from_secs(1);

/// The parameters that say how.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// The pattern of the keys, as it is written.
    pub(crate) key: String,
    pub(crate) pattern: KeyPattern,
    pub(crate) publish: Publish,
    pub(crate) stale: Stale,
    /// Earlier generations that stay.
    pub(crate) keep: u64,
    pub(crate) gates: Gates,
    pub(crate) chunk: usize,
    pub(crate) in_flight: usize,
    pub(crate) rate: Option<u64>,
    /// Whether nothing may take the place of something.
    pub(crate) allow_empty: bool,
}

/// A publication to a server.
pub(crate) struct Publisher<'a> {
    pub(crate) manner: &'a Manner,
    pub(crate) entries: &'a Entries<'a>,
    pub(crate) context: &'a Context,
    pub(crate) server: &'a Server,
    pub(crate) style: Style,
    pub(crate) names: &'a Names,
    /// The content digest of the model.
    pub(crate) model: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) census: Census,
    pub(crate) written: Written,
    pub(crate) meta: Meta,
    /// Documents that were there already.
    pub(crate) unchanged: u64,
    /// Keys of earlier generations that were removed.
    pub(crate) removed: u64,
    /// What `max_change` has found, if it was asked for.
    pub(crate) changed: Option<Changed>,
}

impl Publisher<'_> {
    /// Publishes in the way that was asked for.
    pub(crate) async fn publish(&self, staging: Option<&Server>) -> Result<Outcome, Failure> {
        crate::redis::publish::leftover_check::check(self.server, staging, self.names, self.manner).await?;
        match (self.manner.publish, staging) {
            (Publish::Overwrite, _) => crate::redis::publish::overwrite::publish(self).await,
            (Publish::Pointer, _) => crate::redis::publish::pointer::publish(self).await,
            (Publish::Swap, Some(staging)) => crate::redis::publish::swap::publish(self, staging).await,
            (Publish::Swap, None) => {
                Err(OperatorError::invalid("`publish: swap` needs a second database of one server").into())
            }
        }
    }

    /// Counts the keys, checks that no two rows have the same, and compares them with those of earlier generations.
    /// `current` says whether what the earlier ones say of documents still holds.
    pub(crate) fn look(&self, earlier: Option<&Spilled<Earlier>>, current: bool) -> Result<(Census, Changes)> {
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
    pub(crate) fn earlier(&self) -> Spill<Earlier> {
        Spill::new(&self.context.temp_file("earlier"))
    }

    /// Compares with what readers see, a generation whose meta this is, in `place`: nothing must not take the place of
    /// something, and then there is `max_change`. `gone` is how many of its users the new generation does not have, if that
    /// is known already.
    pub(crate) async fn check_change(
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
        if live
            .ttl
            .is_some_and(|ttl| live.time.saturating_add(ttl) <= metadata_keys::now())
        {
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
    pub(crate) fn chunks(&self, census: &Census) -> u64 {
        census.keys.div_ceil(self.manner.chunk as u64)
    }

    /// What an earlier run has left of this publication, if the server is still the one it went to.
    pub(crate) async fn left_behind(&self, server: &Server, census: &Census) -> Option<Progress> {
        let progress = resume::left_behind(self.context)?;
        let same = progress.keys == census.keys
            && progress.chunk == self.manner.chunk as u64
            && progress.processes == server.processes().await;
        same.then_some(progress)
    }

    /// A journal of a publication that begins.
    pub(crate) async fn begin(&self, server: &Server, generation: u64, census: &Census) -> Result<Journal, Failure> {
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
    pub(crate) async fn mark(&self, server: &Server, token: &str) -> Result<(), Failure> {
        let name = self.names.writing();
        let before = metadata_keys::get(server, &name).await?;
        metadata_keys::set(server, &name, token).await?;
        if before.is_some_and(|before| before != token) {
            tokio::time::sleep(GRACE).await;
        }
        Ok(())
    }

    /// Writes all keys, and reads some of them back. Nothing may have been evicted meanwhile.
    pub(crate) async fn load(
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
        let before = metadata_keys::info(server, "stats", "evicted_keys").await?;
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
        let evicted = metadata_keys::info(server, "stats", "evicted_keys")
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
    pub(crate) fn meta(&self, generation: u64, census: &Census, written: &Written) -> Meta {
        Meta {
            generation,
            rows: census.keys,
            checksum: format!("{:032x}", written.checksum),
            model: self.model.clone(),
            time: metadata_keys::now(),
            key: self.manner.key.clone(),
            encoding: self.style.stored.word().to_owned(),
            publish: Some(self.manner.publish),
            ttl: self.style.ttl,
        }
    }
}

/// A meta as it is stored.
pub(crate) fn json(meta: &Meta) -> Result<String> {
    serde_json::to_string(meta).map_err(|error| OperatorError::internal(error.to_string()))
}

/// The error of a publication that another one has overtaken.
pub(crate) fn overtaken() -> Failure {
    OperatorError::Server(
        "another run has begun to publish here meanwhile, and goes on; what this run wrote does not count".to_owned(),
    )
    .into()
}
