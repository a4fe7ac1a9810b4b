//! Whether a generation that somebody wants to go back to is all there.

use std::borrow::Cow;

use crate::batch::chunk::digest;
use crate::redis::client::commands::Style;
use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::config::settings::Stored;
use crate::redis::keyspace::metadata_keys;
use crate::redis::keyspace::metadata_keys::{Meta, Names, add};
use crate::redis::publish::writer::Place;
use towline_api::OperatorError;

/// Keys that are read at once.
const KEYS: usize = 512;

/// What was found of a generation.
#[derive(Default)]
struct Found {
    keys: u64,
    checksum: u128,
    /// A key that is gone or holds something else.
    wrong: Option<Vec<u8>>,
}

/// Refuses a generation that lacks a key, or has a document that is not the one that was published. A string is compared
/// byte by byte with what was recorded; RedisJSON and hashes give their documents back in other words, so that of those only
/// the keys are looked for.
pub(crate) async fn check(server: &Server, names: &Names, place: Place, meta: &Meta) -> Result<(), Failure> {
    let not_whole = |what: &str| -> Failure {
        OperatorError::Server(format!(
            "generation {} is not whole any more, and what counts now was left as it is: {what}; publish again",
            meta.generation
        ))
        .into()
    };
    let generations = metadata_keys::generations(server, names).await?;
    let Some(records) = generations.get(&meta.generation) else {
        return Err(not_whole("the records of its keys are gone"));
    };
    let mut found = Found::default();
    let recorded = (meta.generation, *records);
    let complete = metadata_keys::records(server, names, recorded, async |keys| {
        for keys in keys.chunks(KEYS) {
            look(server, names, (place, meta.stored()), keys, &mut found).await?;
        }
        Ok(())
    })
    .await?;
    if let Some(key) = &found.wrong {
        let key = String::from_utf8_lossy(key);
        let why = meta.ttl.map_or("", |_| " (`ttl`)");
        return Err(not_whole(&format!(
            "it has {} of {} keys, and `{key}` is gone{why} or holds something else",
            found.keys, meta.rows
        )));
    }
    if !complete || found.keys != meta.rows {
        return Err(not_whole(&format!("it has {} of {} keys", found.keys, meta.rows)));
    }
    if meta.stored() == Stored::String && format!("{:032x}", found.checksum) != meta.checksum {
        return Err(not_whole("its documents are not those that were published"));
    }
    Ok(())
}

async fn look(
    server: &Server,
    names: &Names,
    (place, stored): (Place, Stored),
    keys: &[(u64, &[u8])],
    found: &mut Found,
) -> Result<(), Failure> {
    let style = Style {
        stored,
        ttl: None,
        persist: false,
        many: false,
    };
    let stored_as: Vec<Cow<'_, [u8]>> = keys.iter().map(|(_, key)| place.name(names, key)).collect();
    let stored_as: Vec<&[u8]> = stored_as.iter().map(AsRef::as_ref).collect();
    for ((recorded, key), document) in keys.iter().zip(style.read(server, &stored_as).await?) {
        match document {
            Some(document) if stored != Stored::String || digest(&document) == *recorded => {
                found.keys += 1;
                found.checksum = add(found.checksum, key, &document);
            }
            _ => found.wrong = found.wrong.take().or_else(|| Some(key.to_vec())),
        }
    }
    Ok(())
}
