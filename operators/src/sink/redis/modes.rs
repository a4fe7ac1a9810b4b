//! What another way of publishing has left in the same place.
//!
//! Each way keeps its books differently, and would take what another one wrote for nothing or for keys of its own: old keys
//! would stay for good, or readers would go on with a generation that nobody renews. So the change is refused, and the error
//! says what to remove. Only from `overwrite` to `swap` it needs no help: the whole database changes places.

use super::book::{self, Names};
use super::connection::Failure;
use super::publisher::Manner;
use super::server::Server;
use super::settings::{Publish, Stale};
use crate::contract::OperatorError;

/// Refuses to publish where another way of publishing has left what this one cannot tidy up.
pub(super) async fn check(server: &Server, names: &Names, manner: &Manner) -> Result<(), Failure> {
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
    let pointer = book::get(server, &names.current()).await?.is_some();
    if now != Publish::Pointer && pointer {
        let remedy = format!(
            "when no reader asks for `{}` any more, remove the keys that begin with `{}:`",
            names.current(),
            names.0
        );
        return Err(refuse(Publish::Pointer, &remedy));
    }
    let live = book::meta(server, &names.meta(None), &manner.key).await?;
    let before = match live {
        Some(live) => live.publish.unwrap_or_default(),
        // Its first generation was begun, and never finished.
        None if !pointer && !book::generations(server, names).await?.is_empty() => Publish::Overwrite,
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
