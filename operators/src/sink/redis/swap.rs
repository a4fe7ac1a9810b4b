//! `publish: swap`: into a second database that changes places with the first in one step.

use std::collections::HashSet;
use std::time::Duration;

use redis::Value;

use super::book::{self, Meta};
use super::connection::Failure;
use super::publisher::{Outcome, Publisher, json, overtaken};
use super::resume::Journal;
use super::server::Server;
use super::writer::Place;
use crate::contract::{OperatorError, Result};
use crate::sink::entries::Census;
use crate::sink::spill::Changes;

/// What a key costs a server beside its bytes.
const PER_KEY: u64 = 96;
/// What a document of RedisJSON costs, as a multiple of its bytes.
const JSON_FACTOR: u64 = 4;
/// How long to wait until the server has freed what was removed.
const FREEING: Duration = Duration::from_mins(1);

/// Changes the databases once: a second try, after an answer that was lost, finds the generation in place. The clients see
/// one of the two at any time.
const SWAP: &str = "\
local live = redis.call('GET', KEYS[1]) \
if live and cjson.decode(live)['generation'] == tonumber(ARGV[1]) then return 0 end \
redis.call('SWAPDB', ARGV[2], ARGV[3]) return 1";

pub(super) async fn publish(publisher: &Publisher<'_>, staging: &Server) -> Result<Outcome, Failure> {
    let Publisher {
        server, names, manner, ..
    } = publisher;
    let name = names.meta(None);
    let live = book::meta(server, &name, &manner.key).await?;
    let before = book::meta(staging, &name, &manner.key).await?;
    check_own(publisher, server, live.as_ref()).await?;
    check_own(publisher, staging, before.as_ref()).await?;

    let (census, changes) = publisher.look(None, false)?;
    let changed = publisher
        .check_change(live.as_ref(), Place::Plain, (&census, &changes), None)
        .await?;
    let generation = [&live, &before]
        .into_iter()
        .flatten()
        .map(|meta| meta.generation)
        .max()
        .unwrap_or(0)
        + 1;
    let mut journal = start(publisher, staging, generation, &census, live.as_ref()).await?;

    let loaded = publisher
        .load(staging, Place::Plain, None, &Changes::default(), &census, &mut journal)
        .await;
    let written = match loaded {
        Ok(written) => written,
        Err(failure) => {
            // What is loaded takes memory that the live generation may need; a run that resumes would begin anew.
            if matches!(&failure, Failure::Final(OperatorError::Server(text)) if text.contains("OOM")) {
                Journal::discard(publisher.context);
                flush(staging).await?;
            }
            return Err(failure);
        }
    };
    check_size(publisher, staging, &census).await?;
    if book::get(staging, &names.writing()).await?.as_ref() != Some(&journal.progress().token) {
        return Err(overtaken());
    }
    let meta = publisher.meta(journal.progress().generation, &census, &written);
    book::set(staging, &name, &json(&meta)?).await?;
    book::remove(staging, &[names.writing()]).await?;
    change_places(server, staging, &name, meta.generation).await?;
    if manner.keep == 0 {
        flush(staging).await?;
    }
    Ok(Outcome {
        unchanged: 0,
        census,
        written,
        meta,
        removed: 0,
        changed,
    })
}

/// Takes up what an earlier run has left, or empties the staging database and marks it.
async fn start(
    publisher: &Publisher<'_>,
    staging: &Server,
    generation: u64,
    census: &Census,
    live: Option<&Meta>,
) -> Result<Journal, Failure> {
    let names = publisher.names;
    if let Some(progress) = publisher.left_behind(staging, census).await
        && progress.generation == generation
        && book::get(staging, &names.writing()).await?.as_ref() == Some(&progress.token)
    {
        return Ok(Journal::begin(publisher.context, progress)?);
    }
    let journal = publisher.begin(staging, generation, census).await?;
    publisher.mark(staging, &journal.progress().token).await?;
    flush(staging).await?;
    check_memory(publisher, staging, census, live).await?;
    book::set(staging, &names.owner(), &census.keys.to_string()).await?;
    book::set(staging, &names.writing(), &journal.progress().token).await?;
    Ok(journal)
}

/// Refuses a database that holds anything that the sink has not written: other keys than its own, or more of them than it
/// has written there.
async fn check_own(publisher: &Publisher<'_>, server: &Server, meta: Option<&Meta>) -> Result<(), Failure> {
    let names = publisher.names;
    // A database that was being loaded says itself how many keys it was to get.
    let loading = book::get(server, &names.owner()).await?;
    let loading = loading.map(|keys| keys.parse().unwrap_or(u64::MAX));
    let written = meta.map(|meta| meta.rows).or(loading);
    let marks = own_marks(publisher, server, written.is_some()).await?;
    if meta.is_some_and(|meta| meta.ttl.is_some()) {
        let lasting = lasting(server).await?.saturating_sub(marks);
        if lasting > 0 {
            let what = format!("{lasting} keys that stay, where those of this sink go by themselves (`ttl`)");
            return Err(foreign(server, &what));
        }
    }
    let size = server
        .one::<u64>(None, redis::cmd("DBSIZE"))
        .await?
        .saturating_sub(marks);
    let Some(written) = written.filter(|written| size > *written) else {
        return Ok(());
    };
    Err(foreign(
        server,
        &format!(
            "{size} keys that fit `{}`, of which this sink has written {written}",
            publisher.manner.key
        ),
    ))
}

/// How many keys of a database do not go by themselves.
async fn lasting(server: &Server) -> Result<u64, Failure> {
    let mut command = redis::cmd("INFO");
    command.arg("keyspace");
    let text: String = server.one(None, command).await?;
    let database = format!("db{}:", server.database());
    let line = text.lines().find_map(|line| line.strip_prefix(&database));
    let number = |name: &str| {
        let mut fields = line.into_iter().flat_map(|line| line.split(','));
        let found = fields.find_map(|field| field.strip_prefix(name));
        found.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    Ok(number("keys=").saturating_sub(number("expires=")))
}

/// Counts the keys beside the keys; anything that does not look like the sink's own is an error.
async fn own_marks(publisher: &Publisher<'_>, server: &Server, marked: bool) -> Result<u64, Failure> {
    // SCAN may name a key twice.
    let mut marks: HashSet<Vec<u8>> = HashSet::new();
    let mut cursor = 0_u64;
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("COUNT").arg(1000);
        let (next, keys): (u64, Vec<Vec<u8>>) = server.one(None, command).await?;
        for key in keys {
            if marked && publisher.names.are(&key) {
                marks.insert(key);
            } else if !marked || !publisher.manner.pattern.fits(&key) {
                let key = String::from_utf8_lossy(&key).into_owned();
                return Err(foreign(
                    server,
                    &format!("a key that this sink has not written: `{key}`"),
                ));
            }
        }
        if next == 0 {
            return Ok(marks.len() as u64);
        }
        publisher.context.cancel.check()?;
        cursor = next;
    }
}

fn foreign(server: &Server, what: &str) -> Failure {
    OperatorError::Server(format!(
        "`publish: swap` moves whole databases, and database {} holds {what}; give it two databases of its own (`url`, \
         `staging`), or use `publish: pointer`",
        server.database()
    ))
    .into()
}

/// Refuses to load what the server has no room for.
async fn check_memory(
    publisher: &Publisher<'_>,
    staging: &Server,
    census: &Census,
    live: Option<&Meta>,
) -> Result<(), Failure> {
    let limit = book::info(staging, "memory", "maxmemory").await?;
    if limit == 0 {
        return Ok(());
    }
    let used = book::info(staging, "memory", "used_memory").await?;
    let held = book::info(staging, "memory", "used_memory_dataset").await?;
    let per_key = match live.filter(|live| live.rows > 0) {
        Some(live) => held / live.rows,
        None => {
            let first = publisher
                .entries
                .chunks(publisher.manner.chunk)
                .next()
                .transpose()?
                .unwrap_or_default();
            let bytes: usize = first.iter().map(|(key, document)| key.len() + document.len()).sum();
            let factor = if publisher.style.stored.word() == "json" {
                JSON_FACTOR
            } else {
                1
            };
            bytes as u64 / (first.len() as u64).max(1) * factor + PER_KEY
        }
    };
    let needed = per_key * census.keys;
    if used + needed > limit {
        return Err(OperatorError::Server(format!(
            "two generations do not fit into the server: `maxmemory` is {limit} bytes, {used} are used, and {} keys need \
             about {needed} more; raise `maxmemory`, or use `publish: overwrite`",
            census.keys
        ))
        .into());
    }
    Ok(())
}

/// The database must hold what was written, and nothing else.
async fn check_size(publisher: &Publisher<'_>, staging: &Server, census: &Census) -> Result<(), Failure> {
    // The mark of the owner and that of the writer.
    let expected = census.keys + 2;
    let size: u64 = staging.one(None, redis::cmd("DBSIZE")).await?;
    let right = match publisher.style.ttl {
        // Some may be gone by themselves.
        Some(_) => size <= expected,
        None => size == expected,
    };
    if right {
        return Ok(());
    }
    Err(OperatorError::Server(format!(
        "database {} holds {size} keys where {expected} were written: somebody else writes there, or the server evicts \
         keys",
        staging.database()
    ))
    .into())
}

async fn change_places(server: &Server, staging: &Server, meta: &str, generation: u64) -> Result<(), Failure> {
    let mut command = redis::cmd("EVAL");
    command.arg(SWAP).arg(1).arg(meta).arg(generation);
    command.arg(server.database()).arg(staging.database());
    server.one::<Value>(None, command).await.map(|_| ())
}

/// Empties a database, and waits until its memory is free.
async fn flush(server: &Server) -> Result<(), Failure> {
    let mut command = redis::cmd("FLUSHDB");
    command.arg("ASYNC");
    server.one::<()>(None, command).await?;
    let started = std::time::Instant::now();
    while book::info(server, "memory", "lazyfree_pending_objects").await? > 0 && started.elapsed() < FREEING {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Puts the generation before the present one back in its place.
pub(super) async fn roll_back(server: &Server, staging: &Server, name: &str, key: &str) -> Result<(u64, u64), Failure> {
    let live = book::meta(server, name, key).await?;
    let before = book::meta(staging, name, key).await?;
    match (live, before) {
        (Some(live), Some(before)) if before.generation < live.generation => {
            change_places(server, staging, name, before.generation).await?;
            Ok((live.generation, before.generation))
        }
        _ => Err(OperatorError::invalid(format!(
            "database {} holds no earlier generation: `publish: swap` keeps one only with `keep: 1`",
            staging.database()
        ))
        .into()),
    }
}
