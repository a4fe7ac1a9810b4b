//! Publish gates: conditions that a generation must meet before it replaces the published one.

use crate::batch::row_encoder::EntryCounts;
use crate::redis::config::settings::{Gates, MaxChange};
use crate::redis::publish::list_changes::ListChanges;
use towline_api::{OperatorError, Result};

/// Checks `min_keys` and `min_coverage`.
pub(crate) fn check_counts(gates: &Gates, counts: &EntryCounts) -> Result<()> {
    if let Some(least) = gates.min_keys.filter(|least| counts.keys < *least) {
        return Err(rejected(&format!(
            "there are {} keys, fewer than the {least} of `min_keys`",
            counts.keys
        )));
    }
    if let Some(least) = gates.min_coverage {
        let share = counts.filled as f64 / counts.rows().max(1) as f64;
        if share < least {
            return Err(rejected(&format!(
                "{} of {} rows become a key with a recommendation, a share of {share:.4}; `min_coverage` wants {least}",
                counts.filled,
                counts.rows()
            )));
        }
    }
    Ok(())
}

/// Refuses to replace a published generation with an empty one, unless that is allowed.
pub(crate) fn check_empty(allowed: bool, published_keys: u64, counts: &EntryCounts) -> Result<()> {
    if counts.keys > 0 || published_keys == 0 || allowed {
        return Ok(());
    }
    Err(rejected(&format!(
        "none of the {} rows of the input becomes a key, and {published_keys} keys are published: all of them would be removed; if \
         that is intended, write `allow_empty: true`",
        counts.rows()
    )))
}

/// Checks `max_change`.
pub(crate) fn check_change(limit: MaxChange, changes: ListChanges) -> Result<()> {
    let before = changes.compared + changes.removed;
    let share = (changes.changed + changes.removed) as f64 / before.max(1) as f64;
    if share <= limit.users {
        return Ok(());
    }
    Err(rejected(&format!(
        "the lists of {} of {before} users change by more than {}, and {} users are removed, a share of {share:.4}; \
         `max_change` allows {}",
        changes.changed, limit.by, changes.removed, limit.users
    )))
}

fn rejected(why: &str) -> OperatorError {
    OperatorError::invalid(format!(
        "publish gate failed, and the published generation stays: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_coverage() {
        let counts = EntryCounts {
            keys: 9,
            filled: 6,
            null_users: 3,
            ..EntryCounts::default()
        };
        let gates = |min_keys, min_coverage| Gates {
            min_keys,
            min_coverage,
            max_change: None,
        };
        assert!(check_counts(&gates(Some(9), Some(0.5)), &counts).is_ok());
        let error = check_counts(&gates(Some(10), None), &counts).unwrap_err().to_string();
        assert!(error.contains("9 keys, fewer than the 10"), "{error}");
        let error = check_counts(&gates(None, Some(0.51)), &counts).unwrap_err().to_string();
        assert!(error.contains("6 of 12 rows"), "{error}");
    }
}
