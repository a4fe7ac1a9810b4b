//! What another way of publishing has left in the same place.
//!
//! Each way keeps its books differently, and would take what another one wrote for nothing or for keys of its own: old keys
//! would stay for good, or readers would go on with a generation that nobody renews. So the change is refused, and the error
//! says what to remove. Only from `overwrite` to `swap` it needs no help: the whole database changes places.

use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::config::settings::{Publish, Stale};
use crate::redis::keyspace::metadata_keys;
use crate::redis::keyspace::metadata_keys::Names;
use crate::redis::publish::publisher::Manner;
use towline_api::OperatorError;

/// Refuses to publish where another way of publishing has left what this one cannot tidy up.
pub(crate) async fn check(
    server: &Server,
    staging: Option<&Server>,
    names: &Names,
    manner: &Manner,
) -> Result<(), Failure> {
    let emptied = check_second(server, staging, names).await?;
    check_live(server, names, manner).await?;
    if emptied {
        // The second database may become somebody else's.
        metadata_keys::remove(server, &[names.staging()]).await?;
    }
    Ok(())
}

async fn check_live(server: &Server, names: &Names, manner: &Manner) -> Result<(), Failure> {
    let now = manner.publish;
    let refuse = |before: Publish, remedy: &str| -> Failure {
        OperatorError::Server(format!(
            "the namespace `{}` was published with `publish: {}` before, and `publish: {}` would leave those keys behind \
             for good; {remedy}, or choose another `namespace`",
            names.0,
            before.word(),
            now.word()
        ))
        .into()
    };
    let pointer = metadata_keys::get(server, &names.current()).await?.is_some();
    if now != Publish::Pointer && pointer {
        let remedy = format!(
            "when no reader asks for `{}` any more, remove the keys that begin with `{}:`",
            names.current(),
            names.0
        );
        return Err(refuse(Publish::Pointer, &remedy));
    }
    let live = metadata_keys::meta(server, &names.meta(None), &manner.key).await?;
    let before = match live {
        Some(live) => live.publish.unwrap_or_default(),
        // Its first generation was begun, and never finished.
        None if !pointer && !metadata_keys::generations(server, names).await?.is_empty() => Publish::Overwrite,
        None => return Ok(()),
    };
    let database = server.database();
    match (before, now) {
        (Publish::Swap, Publish::Overwrite) if manner.stale == Stale::Remove => {
            let remedy = format!(
                "empty database {database}, which is the sink's own (`FLUSHDB`), or say that they may stay (`stale: keep`)"
            );
            Err(refuse(before, &remedy))
        }
        (Publish::Swap, Publish::Pointer) => {
            let remedy = format!("empty database {database}, which is the sink's own (`FLUSHDB`)");
            Err(refuse(before, &remedy))
        }
        (_, Publish::Pointer) => {
            let remedy = format!(
                "remove the keys `{}` and those that begin with `{}:`",
                manner.key, names.0
            );
            Err(refuse(before, &remedy))
        }
        _ => Ok(()),
    }
}

/// Refuses to leave a second database behind that `swap` has loaded, or keeps the generation before in, where that is not the
/// second one of this run. Returns whether there was one that somebody has emptied since.
async fn check_second(server: &Server, staging: Option<&Server>, names: &Names) -> Result<bool, Failure> {
    let name = names.staging();
    let Some(second) = metadata_keys::get(server, &name).await? else {
        return Ok(false);
    };
    let Ok(database) = second.parse::<i64>() else {
        let text = format!("the key `{name}` holds no number; choose another `namespace`");
        return Err(OperatorError::Server(text).into());
    };
    if staging.is_some_and(|staging| staging.database() == database) {
        return Ok(false);
    }
    if metadata_keys::get(&server.beside(database).await?, &name).await? == Some(second) {
        return Err(OperatorError::Server(format!(
            "database {database} holds what `publish: swap` has loaded or kept for the namespace `{}`, and would be left \
             behind for good; empty it, which is the sink's own (`FLUSHDB` in database {database}), or go on with `publish: \
             swap` and `staging: {database}`",
            names.0
        ))
        .into());
    }
    Ok(true)
}
