//! Whether a database holds only what the sink has written, which is what `swap` asks before it moves or empties one.

use std::collections::HashSet;
use std::path::Path;

use crate::batch::spill::{Earlier, Spill, stranger};
use crate::key_pattern::KeyPattern;
use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::keyspace::metadata_keys;
use crate::redis::keyspace::metadata_keys::{Meta, Names};
use crate::redis::publish::publisher::Publisher;
use towline_api::{Cancel, OperatorError};

/// Keys that are asked for in one step.
const STEP: usize = 1000;

/// What tells the sink's keys from those of others.
pub(crate) struct Own<'a> {
    pub(crate) names: &'a Names,
    pub(crate) pattern: &'a KeyPattern,
    /// Where keys are kept that do not fit into memory.
    pub(crate) temp: &'a Path,
    pub(crate) cancel: &'a Cancel,
}

/// What a database holds, all of it the sink's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// All keys.
    pub(crate) all: u64,
    /// Those beside the keys.
    pub(crate) beside: u64,
    /// How many keys it could come to hold: another run may be loading it.
    pub(crate) most: u64,
}

impl<'a> Own<'a> {
    pub(crate) fn of(publisher: &'a Publisher<'_>) -> Self {
        Own {
            names: publisher.names,
            pattern: &publisher.manner.pattern,
            temp: publisher.context.temp(),
            cancel: &publisher.context.cancel,
        }
    }

    /// Refuses a database that holds anything that the sink has not written. `meta` is what is said of the generation there.
    pub(crate) async fn check(&self, server: &Server, meta: Option<&Meta>) -> Result<Held, Failure> {
        // A database that was being loaded says itself how many keys it was to get.
        let loading = metadata_keys::get(server, &self.names.owner()).await?;
        let loading = loading.map(|keys| keys.parse().unwrap_or(0));
        let written: Option<u64> = meta.map(|meta| meta.rows).or(loading);
        let paired = metadata_keys::get(server, &self.names.staging()).await?.is_some();
        let all = size(server).await?;
        let (beside, found) = self.scan(server, written.is_some() || paired).await?;
        // Looked at afterwards: who is loading records a key before it writes it.
        let mut recorded = Spill::new(&self.temp.join("recorded"));
        let generations = metadata_keys::generations(server, self.names).await?;
        for generation in &generations {
            let generation = (*generation.0, *generation.1);
            metadata_keys::spill(server, self.names, generation, &mut recorded).await?;
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
pub(crate) async fn size(server: &Server) -> Result<u64, Failure> {
    server.one(None, redis::cmd("DBSIZE")).await
}

fn not_written(key: &[u8]) -> String {
    format!(
        "a key that this sink has not written: `{}`",
        String::from_utf8_lossy(key)
    )
}

/// The error for a database that holds something of others.
pub(crate) fn foreign(server: &Server, what: &str) -> Failure {
    OperatorError::Server(format!(
        "`publish: swap` moves whole databases, and database {} holds {what}; give it two databases of its own (`url`, \
         `staging`), or use `publish: pointer`",
        server.database()
    ))
    .into()
}
