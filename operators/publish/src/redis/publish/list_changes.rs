//! Changed lists: compares a batch with the published documents for the gate `max_change`.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::redis::client::client_error::ClientError;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::keyspace::key_version::KeyVersion;
use crate::redis::publish::session::{PublishSession, ScannedBatch};

/// Documents per request.
const DOCUMENTS_PER_REQUEST: usize = 512;

/// Number of changed lists.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListChanges {
    /// Users in both generations.
    pub(crate) compared: u64,
    /// Those of them whose list has changed by more than the threshold.
    pub(crate) changed: u64,
    /// Users that only the published generation has.
    pub(crate) removed: u64,
}

/// Compares the lists with the published ones, which are stored in `format` under keys of `version`. A list counts as changed
/// if a larger share of its items than `threshold` differs.
pub(crate) async fn compare(
    session: &PublishSession<'_>,
    format: ValueFormat,
    version: KeyVersion,
    batch: &ScannedBatch<'_>,
    threshold: f64,
) -> Result<ListChanges, ClientError> {
    let mut changes = ListChanges::default();
    for chunk in batch.encoder.chunks(DOCUMENTS_PER_REQUEST) {
        let chunk = chunk?;
        let is_unchanged = |index: &usize| batch.changes.is_unchanged(chunk.first + *index as u64);
        let (unchanged, others): (Vec<usize>, Vec<usize>) = (0..chunk.len()).partition(is_unchanged);
        changes.compared += unchanged.len() as u64;
        let stored: Vec<Cow<'_, [u8]>> = others
            .iter()
            .map(|index| version.stored_key(session.namespace.keys, chunk.get(*index).0))
            .collect();
        let keys: Vec<&[u8]> = stored.iter().map(AsRef::as_ref).collect();
        for (index, published) in others.iter().zip(format.read(session.namespace.server, &keys).await?) {
            if let Some(published) = published {
                changes.compared += 1;
                changes.changed += u64::from(change(&published, chunk.get(*index).1) > threshold);
            }
        }
    }
    Ok(changes)
}

/// Share of the longer list's items that the other does not have.
fn change(before: &[u8], now: &[u8]) -> f64 {
    let (before, now) = (items(before), items(now));
    let longer = before.len().max(now.len());
    if longer == 0 {
        return 0.0;
    }
    1.0 - before.intersection(&now).count() as f64 / longer as f64
}

/// Ids of the recommended items in a document.
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
}
