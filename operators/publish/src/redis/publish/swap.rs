//! `publish: swap`: into a second database that changes places with the first in one step.

use std::time::Duration;

use crate::batch::changes::Changes;
use crate::batch::entries::Census;
use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::keyspace::metadata_keys::Meta;
use crate::redis::keyspace::ownership::{Held, Own};
use crate::redis::keyspace::{capacity, metadata_keys, ownership};
use crate::redis::publish::publisher::{Outcome, Publisher, json, overtaken};
use crate::redis::publish::resume::Journal;
use crate::redis::publish::writer::Place;
use crate::redis::verify::integrity;
use towline_api::{OperatorError, Result};

/// How long to wait until the server has freed what was removed.
const FREEING: Duration = Duration::from_mins(1);

/// Changes the databases once: a second try, after an answer that was lost, finds the generation in place. The clients see
/// one of the two at any time. Nothing is changed where somebody else has written into one of them meanwhile: then the answer
/// is the place of the database (1 is the one that is live), how many keys of a kind it holds, and how many it may.
const SWAP: &str = "\
local live = redis.call('GET', KEYS[1]) \
if live and cjson.decode(live)['generation'] == tonumber(ARGV[1]) then return {0, 0, 0} end \
local function lasting(database) \
  local keys, timed = string.match(redis.call('INFO', 'keyspace'), 'db' .. database .. ':keys=(%d+),expires=(%d+)') \
  return tonumber(keys or 0) - tonumber(timed or 0) end \
local function wrong(place, database, least, most, stay) \
  redis.call('SELECT', database) \
  local size, there = redis.call('DBSIZE'), lasting(database) \
  if size < least or size > most then return {place, size, most} end \
  if there > stay then return {place, there, stay} end end \
local others = wrong(2, ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])) \
  or wrong(1, ARGV[2], 0, tonumber(ARGV[7]), tonumber(ARGV[8])) \
if others then return others end \
redis.call('SELECT', ARGV[2]) \
redis.call('SWAPDB', ARGV[2], ARGV[3]) return {0, 0, 0}";

/// How many keys a database may hold when it changes its place.
struct Size {
    least: u64,
    most: u64,
    /// At most so many that do not go by themselves.
    lasting: u64,
}

impl Size {
    /// That of a database as it was looked at; its keys may go meanwhile, where they have a time.
    fn of(held: Held, meta: Option<&Meta>) -> Self {
        let timed = meta.is_some_and(|meta| meta.ttl.is_some());
        Size {
            least: 0,
            most: held.all,
            lasting: if timed { held.beside } else { held.all },
        }
    }
}

pub(crate) async fn publish(publisher: &Publisher<'_>, staging: &Server) -> Result<Outcome, Failure> {
    let Publisher {
        server, names, manner, ..
    } = publisher;
    let name = names.meta(None);
    let live = metadata_keys::meta(server, &name, &manner.key).await?;
    let before = metadata_keys::meta(staging, &name, &manner.key).await?;
    let own = Own::of(publisher);
    let mut live_held = own.check(server, live.as_ref()).await?;
    let staging_held = own.check(staging, before.as_ref()).await?;

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
    pair(publisher, staging, &mut live_held).await?;
    let mut journal = start(publisher, (staging, staging_held), generation, &census, live.as_ref()).await?;

    let recorded = Some(journal.progress().generation);
    let loaded = publisher
        .load(
            staging,
            Place::Plain,
            recorded,
            &Changes::default(),
            &census,
            &mut journal,
        )
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
    if metadata_keys::get(staging, &names.writing()).await?.as_ref() != Some(&journal.progress().token) {
        return Err(overtaken());
    }
    let loaded = check_loaded(publisher, staging, &census).await?;
    let meta = publisher.meta(journal.progress().generation, &census, &written);
    metadata_keys::set(staging, &name, &json(&meta)?).await?;
    metadata_keys::remove(staging, &[names.writing()]).await?;
    // Instead of the mark of the writer there is that of the generation now.
    if live.as_ref().is_some_and(|live| live.ttl.is_some()) {
        // Keys that have gone since would make room for others in the count.
        live_held = own.check(server, live.as_ref()).await?;
    }
    let sizes = (loaded, Size::of(live_held, live.as_ref()));
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
    (staging, held): (&Server, Held),
    generation: u64,
    census: &Census,
    live: Option<&Meta>,
) -> Result<Journal, Failure> {
    let names = publisher.names;
    if let Some(progress) = publisher.left_behind(staging, census).await
        && progress.generation == generation
        && metadata_keys::get(staging, &names.writing()).await?.as_ref() == Some(&progress.token)
    {
        return Ok(Journal::begin(publisher.context, progress)?);
    }
    let journal = publisher.begin(staging, generation, census).await?;
    publisher.mark(staging, &journal.progress().token).await?;
    // What was looked at is removed, and nothing that has come since. The mark is one more.
    let (now, most) = (ownership::size(staging).await?, held.most.saturating_add(1));
    if now > most {
        return Err(intruded(staging, now, most));
    }
    flush(staging).await?;
    capacity::check(publisher, staging, census, live).await?;
    metadata_keys::set(staging, &names.staging(), &staging.database().to_string()).await?;
    metadata_keys::set(staging, &names.owner(), &census.keys.to_string()).await?;
    metadata_keys::set(staging, &names.writing(), &journal.progress().token).await?;
    metadata_keys::begin(staging, names, generation, publisher.chunks(census)).await?;
    Ok(journal)
}

/// Says in the live database which one is loaded: it is not found there otherwise by a run that publishes in another way.
async fn pair(publisher: &Publisher<'_>, staging: &Server, live: &mut Held) -> Result<(), Failure> {
    let (server, name) = (publisher.server, publisher.names.staging());
    let known = metadata_keys::get(server, &name).await?;
    metadata_keys::set(server, &name, &staging.database().to_string()).await?;
    let new = u64::from(known.is_none());
    (live.all, live.beside) = (live.all + new, live.beside + new);
    Ok(())
}

/// The database must hold what was written, and nothing else: the keys, their records, which generation that is, whose it is,
/// where, and who writes.
async fn check_loaded(publisher: &Publisher<'_>, staging: &Server, census: &Census) -> Result<Size, Failure> {
    let beside = publisher.chunks(census) + 4;
    let expected = census.keys + beside;
    let timed = publisher.style.ttl.is_some();
    let size = ownership::size(staging).await?;
    if size > expected || size < expected && !timed {
        return Err(intruded(staging, size, expected));
    }
    if timed {
        // Some may be gone by themselves, but none of somebody else's may have come in their place.
        Own::of(publisher).check(staging, None).await?;
    }
    Ok(Size {
        least: if timed { 0 } else { expected },
        most: expected,
        lasting: if timed { beside } else { expected },
    })
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
    (loaded, live): (Size, Size),
) -> Result<(), Failure> {
    let mut command = redis::cmd("EVAL");
    command.arg(SWAP).arg(1).arg(meta).arg(generation);
    command.arg(server.database()).arg(staging.database());
    command.arg(loaded.least).arg(loaded.most).arg(loaded.lasting);
    command.arg(live.most).arg(live.lasting);
    match server.one::<(u64, u64, u64)>(None, command).await? {
        (0, ..) => Ok(()),
        (1, size, expected) => Err(intruded(server, size, expected)),
        (_, size, expected) => Err(intruded(staging, size, expected)),
    }
}

/// Empties a database, and waits until its memory is free.
async fn flush(server: &Server) -> Result<(), Failure> {
    let mut command = redis::cmd("FLUSHDB");
    command.arg("ASYNC");
    server.one::<()>(None, command).await?;
    let started = std::time::Instant::now();
    while metadata_keys::info(server, "memory", "lazyfree_pending_objects").await? > 0 && started.elapsed() < FREEING {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Puts the generation before the present one back in its place, if it is whole.
pub(crate) async fn roll_back(
    server: &Server,
    staging: &Server,
    own: &Own<'_>,
    key: &str,
) -> Result<(u64, u64), Failure> {
    let name = own.names.meta(None);
    let live = metadata_keys::meta(server, &name, key).await?;
    let before = metadata_keys::meta(staging, &name, key).await?;
    match (live, before) {
        (Some(live), Some(before)) if before.generation < live.generation => {
            integrity::check(staging, own.names, Place::Plain, &before).await?;
            let live_held = own.check(server, Some(&live)).await?;
            let held = own.check(staging, Some(&before)).await?;
            let sizes = (Size::of(held, Some(&before)), Size::of(live_held, Some(&live)));
            change_places(server, staging, &name, before.generation, sizes).await?;
            Ok((live.generation, before.generation))
        }
        _ => Err(OperatorError::invalid(format!(
            "database {} holds no earlier generation: `publish: swap` keeps one only with `keep: 1`",
            staging.database()
        ))
        .into()),
    }
}
