//! What a generation must be like before it takes the place of the one that readers see.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::batch::changes::Changes;
use crate::batch::entries::{Census, Entries};
use crate::redis::client::commands::Style;
use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::config::settings::{Gates, MaxChange};
use crate::redis::keyspace::metadata_keys::Names;
use crate::redis::publish::writer::Place;
use towline_api::{OperatorError, Result};

/// Keys that are read from the server at once.
const KEYS: usize = 512;

/// The gates that need nothing but the rows.
pub(crate) fn check_counts(gates: &Gates, census: &Census) -> Result<()> {
    if let Some(least) = gates.min_keys.filter(|least| census.keys < *least) {
        return Err(closed(&format!(
            "there are {} keys, fewer than the {least} of `min_keys`",
            census.keys
        )));
    }
    if let Some(least) = gates.min_coverage {
        let share = census.filled as f64 / census.rows().max(1) as f64;
        if share < least {
            return Err(closed(&format!(
                "{} of {} rows become a key with a recommendation, a share of {share:.4}; `min_coverage` wants {least}",
                census.filled,
                census.rows()
            )));
        }
    }
    Ok(())
}

/// Refuses to put nothing in the place of something, unless that is what somebody wants.
pub(crate) fn check_empty(allowed: bool, live: u64, census: &Census) -> Result<()> {
    if census.keys > 0 || live == 0 || allowed {
        return Ok(());
    }
    Err(closed(&format!(
        "none of the {} rows of the input becomes a key, and {live} keys are published: all of them would go; if that is \
         what you want, write `allow_empty: true`",
        census.rows()
    )))
}

/// How the lists have changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Users that both generations have.
    pub(crate) users: u64,
    /// Those of them whose list has changed by more than the bound.
    pub(crate) beyond: u64,
    /// Users that only the generation before has.
    pub(crate) gone: u64,
}

/// Checks how much has changed of what readers see.
pub(crate) fn check_change(limit: MaxChange, changed: Changed) -> Result<()> {
    let before = changed.users + changed.gone;
    let share = (changed.beyond + changed.gone) as f64 / before.max(1) as f64;
    if share <= limit.users {
        return Ok(());
    }
    Err(closed(&format!(
        "the lists of {} of {before} users change by more than {}, and {} users are gone, a share of {share:.4}; \
         `max_change` allows {}",
        changed.beyond, limit.by, changed.gone, limit.users
    )))
}

/// Compares the lists with those that readers see, which are stored in `style` in `place`.
pub(crate) async fn compare(
    limit: MaxChange,
    entries: &Entries<'_>,
    (server, style): (&Server, Style),
    (names, place): (&Names, Place),
    changes: &Changes,
) -> Result<Changed, Failure> {
    let mut changed = Changed::default();
    for chunk in entries.chunks(KEYS) {
        let chunk = chunk?;
        let mut places = Vec::new();
        for at in 0..chunk.len() {
            if changes.is_unchanged(chunk.first + at as u64) {
                changed.users += 1;
            } else {
                places.push(at);
            }
        }
        let names: Vec<Cow<'_, [u8]>> = places.iter().map(|at| place.name(names, chunk.get(*at).0)).collect();
        let keys: Vec<&[u8]> = names.iter().map(AsRef::as_ref).collect();
        for (at, live) in places.iter().zip(style.read(server, &keys).await?) {
            if let Some(live) = live {
                changed.users += 1;
                changed.beyond += u64::from(change(&live, chunk.get(*at).1) > limit.by);
            }
        }
    }
    Ok(changed)
}

/// The share of the longer list's items that the other does not have.
fn change(before: &[u8], now: &[u8]) -> f64 {
    let (before, now) = (items(before), items(now));
    let longer = before.len().max(now.len());
    if longer == 0 {
        return 0.0;
    }
    1.0 - before.intersection(&now).count() as f64 / longer as f64
}

fn items(document: &[u8]) -> HashSet<String> {
    let document: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    let list = document["recommendations"].as_array().cloned().unwrap_or_default();
    list.into_iter()
        .map(|item| match item.get("id") {
            Some(id) => id.to_string(),
            None => item.to_string(),
        })
        .collect()
}

fn closed(why: &str) -> OperatorError {
    OperatorError::invalid(format!("a gate is closed, and what was published before stays: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shares_of_the_longer_list() {
        let document = |list: &str| format!(r#"{{"user_id": 1, "recommendations": {list}}}"#).into_bytes();
        for (before, now, expected) in [
            ("[1, 2, 3, 4]", "[4, 3, 2, 1]", 0.0),
            ("[1, 2, 3, 4]", "[1, 2]", 0.5),
            ("[]", "[]", 0.0),
            ("[1]", "[\"1\"]", 1.0),
            (
                "[{\"id\": 1, \"score\": 0.5}, {\"id\": 2, \"score\": 0.25}]",
                "[1, 3]",
                0.5,
            ),
        ] {
            assert_eq!(change(&document(before), &document(now)), expected, "{before} {now}");
        }
    }

    #[test]
    fn counts_and_coverage() {
        let census = Census {
            keys: 9,
            filled: 6,
            null_users: 3,
            ..Census::default()
        };
        let gates = |min_keys, min_coverage| Gates {
            min_keys,
            min_coverage,
            max_change: None,
        };
        assert!(check_counts(&gates(Some(9), Some(0.5)), &census).is_ok());
        let error = check_counts(&gates(Some(10), None), &census).unwrap_err().to_string();
        assert!(error.contains("9 keys, fewer than the 10"), "{error}");
        let error = check_counts(&gates(None, Some(0.51)), &census).unwrap_err().to_string();
        assert!(error.contains("6 of 12 rows"), "{error}");
    }
}
