//! Whether a database holds only what the sink has written, which is what `swap` asks before it moves or empties one.

use std::collections::HashSet;
use std::path::Path;

use super::book::{self, Meta, Names};
use super::connection::Failure;
use super::publisher::Publisher;
use super::server::Server;
use crate::contract::{Cancel, OperatorError};
use crate::sink::key_pattern::KeyPattern;
use crate::sink::spill::{Earlier, Spill, stranger};

/// Keys that are asked for in one step.
const STEP: usize = 1000;

/// What tells the sink's keys from those of others.
pub(super) struct Own<'a> {
    pub(super) names: &'a Names,
    pub(super) pattern: &'a KeyPattern,
    /// Where keys are kept that do not fit into memory.
    pub(super) temp: &'a Path,
    pub(super) cancel: &'a Cancel,
}

/// What a database holds, all of it the sink's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// All keys.
    pub(super) all: u64,
    /// Those beside the keys.
    pub(super) beside: u64,
    /// How many keys it could come to hold: another run may be loading it.
    pub(super) most: u64,
}

impl<'a> Own<'a> {
    pub(super) fn of(publisher: &'a Publisher<'_>) -> Self {
        Own {
            names: publisher.names,
            pattern: &publisher.manner.pattern,
            temp: publisher.context.temp(),
            cancel: &publisher.context.cancel,
        }
    }

    /// Refuses a database that holds anything that the sink has not written. `meta` is what is said of the generation there.
    pub(super) async fn check(&self, server: &Server, meta: Option<&Meta>) -> Result<Held, Failure> {
        // A database that was being loaded says itself how many keys it was to get.
        let loading = book::get(server, &self.names.owner()).await?;
        let loading = loading.map(|keys| keys.parse().unwrap_or(0));
        let written: Option<u64> = meta.map(|meta| meta.rows).or(loading);
        let paired = book::get(server, &self.names.staging()).await?.is_some();
        let all = size(server).await?;
        let (beside, found) = self.scan(server, written.is_some() || paired).await?;
        // Looked at afterwards: who is loading records a key before it writes it.
        let mut recorded = Spill::new(&self.temp.join("recorded"));
        let generations = book::generations(server, self.names).await?;
        for generation in &generations {
            let generation = (*generation.0, *generation.1);
            book::spill(server, self.names, generation, &mut recorded).await?;
        }
        if let Some(key) = stranger(&found.finish()?, &recorded.finish()?)? {
            return Err(foreign(server, &not_written(&key)));
        }
        let records = beside.iter().filter(|name| self.names.is_record(name)).count() as u64;
        let to_come = generations.values().sum::<u64>().saturating_sub(records);
        let beside = beside.len() as u64;
        Ok(Held {
            all,
            beside,
            most: written.unwrap_or(0).saturating_add(beside).saturating_add(to_come),
        })
    }

    /// The keys beside the keys, and those that fit the pattern; any other is an error.
    async fn scan(&self, server: &Server, marked: bool) -> Result<(HashSet<Vec<u8>>, Spill<Earlier>), Failure> {
        // SCAN may name a key twice.
        let mut beside = HashSet::new();
        let mut found = Spill::new(&self.temp.join("found"));
        let mut cursor = 0_u64;
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("COUNT").arg(STEP);
            let (next, keys): (u64, Vec<Vec<u8>>) = server.one(None, command).await?;
            for key in keys {
                if marked && self.names.are(&key) {
                    beside.insert(key);
                } else if marked && self.pattern.fits(&key) {
                    found.push(&Earlier::of(0, &key))?;
                } else {
                    return Err(foreign(server, &not_written(&key)));
                }
            }
            if next == 0 {
                return Ok((beside, found));
            }
            self.cancel.check()?;
            cursor = next;
        }
    }
}

/// How many keys a database holds.
pub(super) async fn size(server: &Server) -> Result<u64, Failure> {
    server.one(None, redis::cmd("DBSIZE")).await
}

fn not_written(key: &[u8]) -> String {
    format!(
        "a key that this sink has not written: `{}`",
        String::from_utf8_lossy(key)
    )
}

/// The error for a database that holds something of others.
pub(super) fn foreign(server: &Server, what: &str) -> Failure {
    OperatorError::Server(format!(
        "`publish: swap` moves whole databases, and database {} holds {what}; give it two databases of its own (`url`, \
         `staging`), or use `publish: pointer`",
        server.database()
    ))
    .into()
}
