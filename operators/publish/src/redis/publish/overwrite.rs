//! `publish: overwrite`: key by key in place.
//!
//! The order of the steps is what makes a kill at any point harmless: the generation is announced and its keys are recorded
//! before they are written, so that the next publication knows of every key that may be there; what is said of the
//! generation comes last. While more than one generation is recorded, the digests of none are believed.

use crate::batch::changes::Changes;
use crate::redis::client::commands::Style;
use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::config::settings::Stale;
use crate::redis::keyspace::metadata_keys;
use crate::redis::keyspace::metadata_keys::Names;
use crate::redis::publish::publisher::{Outcome, Publisher, json, overtaken};
use crate::redis::publish::resume::Journal;
use crate::redis::publish::writer::Place;
use towline_api::Result;

/// Keys that are removed at once.
const REMOVED: usize = 512;

pub(crate) async fn publish(publisher: &Publisher<'_>) -> Result<Outcome, Failure> {
    let Publisher {
        server, names, manner, ..
    } = publisher;
    let live = metadata_keys::meta(server, &names.meta(None), &manner.key).await?;
    let generations = metadata_keys::generations(server, names).await?;
    let live_generation = live.as_ref().map_or(0, |live| live.generation);
    let resumed = crate::redis::publish::resume::left_behind(publisher.context);
    let own = resumed.as_ref().map(|progress| progress.generation);

    let mut earlier = publisher.earlier();
    let mut whole = true;
    for (generation, records) in &generations {
        if Some(*generation) != own {
            whole &= metadata_keys::spill(server, names, (*generation, *records), &mut earlier).await?;
        }
    }
    let earlier = earlier.finish()?;
    let stored = publisher.style.stored.word();
    let alone = generations
        .keys()
        .all(|generation| *generation == live_generation || Some(*generation) == own);
    let current = whole
        && alone
        && generations.contains_key(&live_generation)
        && live.as_ref().is_some_and(|live| live.encoding == stored);
    let (census, changes) = publisher.look(Some(&earlier), current)?;
    drop(earlier);
    let gone = match manner.stale {
        Stale::Keep => Some(0),
        Stale::Remove if current => Some(count_stale(&changes)?),
        Stale::Remove => None,
    };
    let found = (&census, &changes);
    let changed = publisher.check_change(live.as_ref(), Place::Plain, found, gone).await?;
    // Keys that an unfinished generation has written may have a time as well.
    let had_ttl = !generations.is_empty() && live.as_ref().is_none_or(|live| !alone || live.ttl.is_some());
    let publisher = &Publisher {
        style: Style {
            persist: publisher.style.ttl.is_none() && had_ttl,
            ..publisher.style
        },
        model: publisher.model.clone(),
        ..*publisher
    };

    let mut journal = start(publisher, &census, &generations, live_generation).await?;
    let generation = journal.progress().generation;
    let written = publisher
        .load(server, Place::Plain, Some(generation), &changes, &census, &mut journal)
        .await?;
    still_ours(server, names, &journal).await?;
    let removed = match manner.stale {
        Stale::Remove => remove_stale(publisher, &changes).await?,
        Stale::Keep => 0,
    };
    let meta = publisher.meta(generation, &census, &written);
    metadata_keys::set(server, &names.meta(None), &json(&meta)?).await?;
    for (other, records) in generations {
        if other != generation {
            metadata_keys::forget(server, names, (other, records)).await?;
        }
    }
    metadata_keys::remove(server, &[names.writing()]).await?;
    Ok(Outcome {
        unchanged: census.keys - written.keys - written.resumed,
        census,
        written,
        meta,
        removed,
        changed,
    })
}

/// Takes up what an earlier run has left, or begins a new generation.
async fn start(
    publisher: &Publisher<'_>,
    census: &crate::batch::entries::Census,
    generations: &std::collections::BTreeMap<u64, u64>,
    live: u64,
) -> Result<Journal, Failure> {
    let Publisher { server, names, .. } = publisher;
    if let Some(progress) = publisher.left_behind(server, census).await {
        let writing = metadata_keys::get(server, &names.writing()).await?;
        if writing.as_ref() == Some(&progress.token) && generations.contains_key(&progress.generation) {
            return Ok(Journal::begin(publisher.context, progress)?);
        }
    }
    let largest = generations.keys().copied().max().unwrap_or(0).max(live);
    let generation = metadata_keys::next_generation(server, names, largest).await?;
    let journal = publisher.begin(server, generation, census).await?;
    metadata_keys::begin(server, names, generation, publisher.chunks(census)).await?;
    publisher.mark(server, &journal.progress().token).await?;
    Ok(journal)
}

/// An error if another run has begun to write.
async fn still_ours(server: &Server, names: &Names, journal: &Journal) -> Result<(), Failure> {
    let writing = metadata_keys::get(server, &names.writing()).await?;
    if writing.as_ref() == Some(&journal.progress().token) {
        Ok(())
    } else {
        Err(overtaken())
    }
}

fn count_stale(changes: &Changes) -> Result<u64> {
    changes.stale(REMOVED)?.map(|keys| Ok(keys?.len() as u64)).sum()
}

async fn remove_stale(publisher: &Publisher<'_>, changes: &Changes) -> Result<u64, Failure> {
    let mut removed = 0;
    for keys in changes.stale(REMOVED)? {
        let keys = keys?;
        metadata_keys::remove(publisher.server, &keys).await?;
        removed += keys.len() as u64;
        publisher.context.cancel.check()?;
    }
    Ok(removed)
}
