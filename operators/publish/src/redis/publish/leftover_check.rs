//! Leftover check: refuses a change of the publish mode that would leave keys of the former mode behind.
//!
//! The modes record their keys differently, and would not see or would misread what another one wrote: old keys would stay
//! forever, or readers would go on with a generation that is never renewed. The error says what to remove. Only the change
//! from `overwrite` to `swap` needs no help: the whole database is swapped.

use crate::redis::client::client_error::ClientError;
use crate::redis::config::settings::{Publish, StaleKeys};
use crate::redis::keyspace::namespace::Namespace;
use crate::redis::publish::session::PublishSession;
use towline_api::OperatorError;

/// Refuses to publish if another publish mode has left keys that this one cannot remove.
pub(crate) async fn check(session: &PublishSession<'_>) -> Result<(), ClientError> {
    let emptied = check_staging(session).await?;
    check_published(session).await?;
    if emptied {
        // The former staging database may become somebody else's.
        let Namespace { server, keys } = session.namespace;
        server.unlink(&[keys.staging()]).await?;
    }
    Ok(())
}

async fn check_published(session: &PublishSession<'_>) -> Result<(), ClientError> {
    let PublishSession { namespace, options, .. } = session;
    let Namespace { server, keys } = namespace;
    let (now, prefix) = (options.publish, &keys.0);
    let refuse = |before: Publish, remedy: &str| -> ClientError {
        OperatorError::Server(format!(
            "the namespace `{prefix}` was published with `publish: {}` before, and `publish: {}` would leave those keys \
             behind forever; {remedy}, or choose another `namespace`",
            before.name(),
            now.name()
        ))
        .into()
    };
    let pointer = server.get(&keys.current()).await?.is_some();
    if now != Publish::Pointer && pointer {
        let remedy = format!(
            "when no reader asks for `{}` any more, remove the keys that begin with `{prefix}:`",
            keys.current()
        );
        return Err(refuse(Publish::Pointer, &remedy));
    }
    let published = namespace.metadata(None, &options.key).await?;
    let before = match published {
        Some(published) => published.publish.unwrap_or_default(),
        // Its first generation was started and never finished.
        None if !pointer && !namespace.generations().await?.is_empty() => Publish::Overwrite,
        None => return Ok(()),
    };
    let flush = format!(
        "empty database {}, which is the sink's own (`FLUSHDB`)",
        server.database()
    );
    match (before, now) {
        (Publish::Swap, Publish::Overwrite) if options.stale == StaleKeys::Remove => {
            let remedy = format!("{flush}, or keep the old keys (`stale: keep`)");
            Err(refuse(before, &remedy))
        }
        (Publish::Swap, Publish::Pointer) => Err(refuse(before, &flush)),
        (_, Publish::Pointer) => {
            let remedy = format!(
                "remove the keys `{}` and those that begin with `{prefix}:`",
                options.key
            );
            Err(refuse(before, &remedy))
        }
        _ => Ok(()),
    }
}

/// Refuses to abandon a staging database that `swap` has loaded, or keeps the previous generation in, if this run uses
/// another one or none. Returns whether such a database was emptied meanwhile.
async fn check_staging(session: &PublishSession<'_>) -> Result<bool, ClientError> {
    let Namespace { server, keys } = session.namespace;
    let name = keys.staging();
    let Some(number) = server.get(&name).await? else {
        return Ok(false);
    };
    let Ok(database) = number.parse::<i64>() else {
        let text = format!("the key `{name}` holds no number; choose another `namespace`");
        return Err(OperatorError::Server(text).into());
    };
    if session
        .staging
        .is_some_and(|staging| staging.server.database() == database)
    {
        return Ok(false);
    }
    if server.other_database(database).await?.get(&name).await? == Some(number) {
        return Err(OperatorError::Server(format!(
            "database {database} holds what `publish: swap` has loaded or kept for the namespace `{}`, which would be left \
             behind forever; empty it, which is the sink's own (`FLUSHDB` in database {database}), or go on with `publish: \
             swap` and `staging: {database}`",
            keys.0
        ))
        .into());
    }
    Ok(true)
}
