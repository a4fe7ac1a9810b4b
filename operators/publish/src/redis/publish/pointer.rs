//! `publish: pointer`: every generation under keys of its own, and one key that says which counts.
//!
//! Readers take the number from `RECS:CURRENT` and then read `RECS:<number>:{<key>}`, for as many keys as belong together; or
//! they call `FCALL_RO recs_get 1 <key> [<number>]`. A generation that was counted once stays for those who read it until
//! the one after the next is published.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::batch::changes::Changes;
use crate::batch::entries::Census;
use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::config::settings::Stored;
use crate::redis::keyspace::metadata_keys;
use crate::redis::keyspace::metadata_keys::Names;
use crate::redis::publish::publisher::{Outcome, Publisher, json};
use crate::redis::publish::resume::Journal;
use crate::redis::publish::writer::Place;
use crate::redis::verify::integrity;
use towline_api::{Cancel, OperatorError, Result};

/// Keys of old generations that are removed in a second, so that readers do not notice.
const REMOVED_PER_SECOND: u64 = 50_000;

/// Moves the number forward and never back; a second try finds it in place. Returns what is there then.
const MOVE: &str = "\
local now = tonumber(redis.call('GET', KEYS[1]) or '0') \
if now >= tonumber(ARGV[1]) then return now end \
redis.call('SET', KEYS[1], ARGV[1]) return tonumber(ARGV[1])";

pub(crate) async fn publish(publisher: &Publisher<'_>) -> Result<Outcome, Failure> {
    let Publisher {
        server, names, manner, ..
    } = publisher;
    let current = current(server, names).await?;
    let live = match current {
        Some(current) => metadata_keys::meta(server, &names.meta(Some(current)), &manner.key).await?,
        None => None,
    };
    let generations = metadata_keys::generations(server, names).await?;
    let (census, changes) = publisher.look(None, false)?;
    let place = Place::Generation(current.unwrap_or(0));
    let changed = publisher
        .check_change(live.as_ref(), place, (&census, &changes), None)
        .await?;

    let mut journal = start(publisher, &census, &generations, current.unwrap_or(0)).await?;
    let generation = journal.progress().generation;
    let place = Place::Generation(generation);
    let none = Changes::default();
    let loaded = publisher
        .load(server, place, Some(generation), &none, &census, &mut journal)
        .await;
    let written = match loaded {
        Ok(written) => written,
        Err(failure) => {
            // A later run may have removed this generation while some chunks were on their way: the next one has to know.
            // Where the server is gone that cannot be said, and the failure is the same.
            let _ = metadata_keys::begin(server, names, generation, publisher.chunks(&census)).await;
            return Err(failure);
        }
    };
    let meta = publisher.meta(generation, &census, &written);
    metadata_keys::set(server, &names.meta(Some(generation)), &json(&meta)?).await?;
    move_to(server, names, publisher.style.stored, generation).await?;
    let removed = remove_old(publisher, generation, current).await?;
    Ok(Outcome {
        unchanged: 0,
        census,
        written,
        meta,
        removed,
        changed,
    })
}

/// The generation that counts.
async fn current(server: &Server, names: &Names) -> Result<Option<u64>, Failure> {
    let Some(text) = metadata_keys::get(server, &names.current()).await? else {
        return Ok(None);
    };
    let number = text.parse().map_err(|_| {
        OperatorError::Server(format!(
            "the key `{}` holds no number; choose another `namespace`",
            names.current()
        ))
    })?;
    Ok(Some(number))
}

async fn start(
    publisher: &Publisher<'_>,
    census: &Census,
    generations: &BTreeMap<u64, u64>,
    current: u64,
) -> Result<Journal, Failure> {
    let Publisher { server, names, .. } = publisher;
    if let Some(progress) = publisher.left_behind(server, census).await
        && progress.generation > current
        && generations.contains_key(&progress.generation)
    {
        return Ok(Journal::begin(publisher.context, progress)?);
    }
    let largest = generations.keys().copied().max().unwrap_or(0).max(current);
    let generation = metadata_keys::next_generation(server, names, largest).await?;
    let journal = publisher.begin(server, generation, census).await?;
    // Before anything else: another way of publishing must know whose generation it is that was never finished.
    let name = names.current();
    let mut command = redis::cmd("SET");
    command.arg(&name).arg(0).arg("NX");
    server.one::<Option<String>>(Some(name.as_bytes()), command).await?;
    metadata_keys::begin(server, names, generation, publisher.chunks(census)).await?;
    Ok(journal)
}

/// Makes a generation the one that counts, unless a later one does already.
async fn move_to(server: &Server, names: &Names, stored: Stored, generation: u64) -> Result<(), Failure> {
    let behind = |now: u64| -> Failure {
        OperatorError::Server(format!(
            "generation {now} was published meanwhile; generation {generation} is older and does not take its place"
        ))
        .into()
    };
    if let Some(now) = current(server, names).await?.filter(|now| *now > generation) {
        return Err(behind(now));
    }
    install(server, names, stored, generation).await?;
    let name = names.current();
    let mut command = redis::cmd("EVAL");
    command.arg(MOVE).arg(1).arg(&name).arg(generation);
    let now: u64 = server.one(Some(name.as_bytes()), command).await?;
    if now == generation { Ok(()) } else { Err(behind(now)) }
}

/// Installs the function that readers call. On one server it looks the number up; in a cluster, where the number is with one
/// node only, every node is told.
async fn install(server: &Server, names: &Names, stored: Stored, generation: u64) -> Result<(), Failure> {
    let namespace = &names.0;
    let library = namespace.to_lowercase();
    let number = if server.is_cluster() {
        format!("'{generation}'")
    } else {
        format!("redis.call('GET', '{namespace}:CURRENT')")
    };
    let read = match stored {
        Stored::String => "GET",
        Stored::Json => "JSON.GET",
        Stored::Hash => "HGETALL",
    };
    let code = format!(
        "#!lua name={library}\n\
         local function get(keys, args)\n\
         \x20 local generation = args[1] or {number}\n\
         \x20 if not generation then return false end\n\
         \x20 return redis.call('{read}', '{namespace}:' .. generation .. ':{{' .. keys[1] .. '}}')\n\
         end\n\
         redis.register_function{{function_name='{library}_get', callback=get, flags={{'no-writes'}}}}\n"
    );
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg("REPLACE").arg(code);
    server
        .all::<String>(&command)
        .await
        .map(|_| ())
        .map_err(|failure| match failure {
            Failure::Final(OperatorError::Server(text)) if text.to_lowercase().contains("unknown command") => {
                OperatorError::Server("`publish: pointer` needs Redis 7 or newer, which has functions".to_owned())
                    .into()
            }
            other => other,
        })
}

/// Removes generations before this one but those to keep: first of all the one that counted until now, which somebody may
/// still read. Generations that were never finished go as well.
async fn remove_old(publisher: &Publisher<'_>, generation: u64, before: Option<u64>) -> Result<u64, Failure> {
    let Publisher {
        server, names, manner, ..
    } = publisher;
    let generations = metadata_keys::generations(server, names).await?;
    let older: Vec<(u64, u64)> = generations
        .into_iter()
        .filter(|(older, _)| *older < generation)
        .collect();
    let mut finished = Vec::new();
    for (older, _) in older.iter().rev() {
        if metadata_keys::get(server, &names.meta(Some(*older))).await?.is_some() {
            finished.push(*older);
        }
    }
    finished.sort_by_key(|older| (Some(*older) != before, u64::MAX - older));
    finished.truncate(manner.keep as usize);
    let mut removed = 0;
    for (older, records) in older {
        if !finished.contains(&older) {
            removed += remove_generation(server, names, (older, records), &publisher.context.cancel).await?;
        }
    }
    Ok(removed)
}

async fn remove_generation(
    server: &Server,
    names: &Names,
    generation: (u64, u64),
    cancel: &Cancel,
) -> Result<u64, Failure> {
    let mut removed = 0;
    // Whoever looks for a generation to go back to must not find half of one.
    metadata_keys::remove(server, &[names.meta(Some(generation.0))]).await?;
    metadata_keys::records(server, names, generation, async |keys| {
        cancel.check()?;
        let stored: Vec<Vec<u8>> = keys
            .iter()
            .map(|(_, key)| names.of_generation(generation.0, key))
            .collect();
        metadata_keys::remove(server, &stored).await?;
        removed += stored.len() as u64;
        let pause = stored.len() as f64 / REMOVED_PER_SECOND as f64;
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        Ok(())
    })
    .await?;
    metadata_keys::forget(server, names, generation).await?;
    Ok(removed)
}

/// Makes the generation before the present one count again, if it is whole.
pub(crate) async fn roll_back(server: &Server, names: &Names, key: &str) -> Result<(u64, u64), Failure> {
    let none = || -> Failure {
        OperatorError::invalid("there is no earlier generation to go back to: `keep` says how many stay").into()
    };
    let now = current(server, names).await?.ok_or_else(none)?;
    for older in metadata_keys::generations(server, names)
        .await?
        .into_keys()
        .rev()
        .filter(|older| *older < now)
    {
        if let Some(meta) = metadata_keys::meta(server, &names.meta(Some(older)), key).await? {
            integrity::check(server, names, Place::Generation(older), &meta).await?;
            install(server, names, meta.stored(), older).await?;
            metadata_keys::set(server, &names.current(), &older.to_string()).await?;
            return Ok((now, older));
        }
    }
    Err(none())
}
