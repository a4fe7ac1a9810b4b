//! `publish: swap`: into a second database that changes places with the first in one step.

use std::collections::HashSet;
use std::time::Duration;

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
/// More keys than a server can hold, and exact as a number of Lua.
const MOST: u64 = 1 << 52;
/// How long to wait until the server has freed what was removed.
const FREEING: Duration = Duration::from_mins(1);

/// Changes the databases once: a second try, after an answer that was lost, finds the generation in place. The clients see
/// one of the two at any time. Nothing is changed where somebody else has written into one of them meanwhile: then the answer
/// is the number of keys there and the place of the database, 1 for the one that is live.
const SWAP: &str = "\
local live = redis.call('GET', KEYS[1]) \
if live and cjson.decode(live)['generation'] == tonumber(ARGV[1]) then return {0, 0} end \
redis.call('SELECT', ARGV[3]) \
local loaded = redis.call('DBSIZE') \
redis.call('SELECT', ARGV[2]) \
local least, most = tonumber(ARGV[4]), tonumber(ARGV[5]) \
if loaded < least or loaded > most then return {2, loaded} end \
local there = redis.call('DBSIZE') \
if there > tonumber(ARGV[6]) then return {1, there} end \
redis.call('SWAPDB', ARGV[2], ARGV[3]) return {0, 0}";

/// How many keys the databases may hold when they change places.
struct Sizes {
    /// The one that was loaded.
    loaded: std::ops::RangeInclusive<u64>,
    /// The one that readers see: no more than when it was looked at.
    live: u64,
}

pub(super) async fn publish(publisher: &Publisher<'_>, staging: &Server) -> Result<Outcome, Failure> {
    let Publisher {
        server, names, manner, ..
    } = publisher;
    let name = names.meta(None);
    let live = book::meta(server, &name, &manner.key).await?;
    let before = book::meta(staging, &name, &manner.key).await?;
    let (live_size, _) = check_own(publisher, server, live.as_ref()).await?;
    let (_, staging_most) = check_own(publisher, staging, before.as_ref()).await?;

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
    let mut journal = start(publisher, (staging, staging_most), generation, &census, live.as_ref()).await?;

    let loaded = publisher
        .load(staging, Place::Plain, None, &Changes::default(), &census, &mut journal)
        .await;
    let written = match loaded {
        Ok(written) => written,
        Err(failure) => {
            // What is loaded takes memory that the live generation may need; a run that resumes would begin anew.
            if matches!(&failure, Failure::Final(OperatorError::Server(text)) if text.contains("OOM")) {
                Journal::discard(publisher.context);
                // Chunks that were on their way must not come after that.
                staging.settle().await?;
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
    // Instead of the mark of the writer there is that of the generation now.
    let loaded = size_of(&census);
    let least = if publisher.style.ttl.is_some() { 0 } else { loaded };
    let sizes = Sizes {
        loaded: least..=loaded,
        live: live_size,
    };
    change_places(server, staging, &name, meta.generation, sizes).await?;
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
    (staging, most): (&Server, u64),
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
    // What was looked at is removed, and nothing that has come since. The mark is one more.
    let now = database_size(staging).await?;
    if now > most.saturating_add(1) {
        return Err(intruded(staging, now, most));
    }
    flush(staging).await?;
    check_memory(publisher, staging, census, live).await?;
    book::set(staging, &names.owner(), &census.keys.to_string()).await?;
    book::set(staging, &names.writing(), &journal.progress().token).await?;
    Ok(journal)
}

/// Refuses a database that holds anything that the sink has not written: other keys than its own, or more of them than it
/// has written there. Returns how many keys it holds in all, and how many it could hold: another run may be loading it.
async fn check_own(publisher: &Publisher<'_>, server: &Server, meta: Option<&Meta>) -> Result<(u64, u64), Failure> {
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
    let all = database_size(server).await?;
    let size = all.saturating_sub(marks);
    let written = match written {
        Some(written) if size > written => written,
        written => return Ok((all, written.unwrap_or(0).saturating_add(marks))),
    };
    Err(foreign(
        server,
        &format!(
            "{size} keys that fit `{}`, of which this sink has written {written}",
            publisher.manner.key
        ),
    ))
}

async fn database_size(server: &Server) -> Result<u64, Failure> {
    server.one(None, redis::cmd("DBSIZE")).await
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

/// How many keys a database holds that was loaded: those of the generation, and two marks.
fn size_of(census: &Census) -> u64 {
    census.keys + 2
}

/// The database must hold what was written, and nothing else.
async fn check_size(publisher: &Publisher<'_>, staging: &Server, census: &Census) -> Result<(), Failure> {
    let expected = size_of(census);
    let size = database_size(staging).await?;
    let right = match publisher.style.ttl {
        // Some may be gone by themselves, but none of somebody else's may have come in their place.
        Some(_) => size <= expected && lasting(staging).await? <= expected - census.keys,
        None => size == expected,
    };
    if right {
        return Ok(());
    }
    Err(intruded(staging, size, expected))
}

fn intruded(server: &Server, size: u64, expected: u64) -> Failure {
    OperatorError::Server(format!(
        "database {} holds {size} keys where {expected} were written: somebody else writes there, or the server evicts \
         keys; what readers see was left as it was",
        server.database()
    ))
    .into()
}

async fn change_places(
    server: &Server,
    staging: &Server,
    meta: &str,
    generation: u64,
    sizes: Sizes,
) -> Result<(), Failure> {
    let mut command = redis::cmd("EVAL");
    command.arg(SWAP).arg(1).arg(meta).arg(generation);
    command.arg(server.database()).arg(staging.database());
    command
        .arg(sizes.loaded.start())
        .arg(sizes.loaded.end())
        .arg(sizes.live);
    match server.one::<(u64, u64)>(None, command).await? {
        (0, _) => Ok(()),
        (1, size) => Err(intruded(server, size, sizes.live)),
        (_, size) => Err(intruded(staging, size, *sizes.loaded.end())),
    }
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
            // How many marks there are depends on how the generation was published.
            let any = Sizes {
                loaded: 0..=MOST,
                live: MOST,
            };
            change_places(server, staging, name, before.generation, any).await?;
            Ok((live.generation, before.generation))
        }
        _ => Err(OperatorError::invalid(format!(
            "database {} holds no earlier generation: `publish: swap` keeps one only with `keep: 1`",
            staging.database()
        ))
        .into()),
    }
}
