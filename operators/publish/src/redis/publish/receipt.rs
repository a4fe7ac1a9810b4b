//! Receipt and report of a publication.

use std::collections::BTreeMap;

use serde_json::json;

use crate::batch::row_encoder::EntryCounts;
use crate::redis::keyspace::generation_metadata::GenerationMetadata;
use crate::redis::publish::list_changes::ListChanges;
use crate::redis::publish::writer::Written;
use towline_api::{Receipt, Report};

/// Result of a publication.
#[derive(Debug)]
pub(crate) struct PublishOutcome {
    pub(crate) counts: EntryCounts,
    pub(crate) written: Written,
    pub(crate) metadata: GenerationMetadata,
    /// Number of documents that were published already.
    pub(crate) unchanged: u64,
    /// Number of keys of earlier generations that were removed.
    pub(crate) removed: u64,
    /// Changed lists, if there is a gate `max_change`.
    pub(crate) list_changes: Option<ListChanges>,
}

/// Receipt and report; `dropped` is the number of recommendations without a value.
pub(crate) fn receipt(target: &str, outcome: &PublishOutcome, dropped: u64) -> (Receipt, Report) {
    let mut report = Report::default();
    let PublishOutcome {
        counts,
        written,
        metadata,
        ..
    } = outcome;
    let mut details = BTreeMap::from([
        ("key".to_owned(), json!(metadata.key)),
        ("generation".to_owned(), json!(metadata.generation)),
        ("encoding".to_owned(), json!(metadata.encoding)),
        ("checksum".to_owned(), json!(metadata.checksum)),
        ("written".to_owned(), json!(written.keys)),
        ("written_bytes".to_owned(), json!(written.bytes)),
        ("unchanged".to_owned(), json!(outcome.unchanged)),
        ("unchanged_bytes".to_owned(), json!(written.unchanged_bytes)),
        ("resumed".to_owned(), json!(written.resumed)),
        ("removed".to_owned(), json!(outcome.removed)),
    ]);
    if let Some(changes) = outcome.list_changes {
        details.insert("lists_compared".to_owned(), json!(changes.compared));
        details.insert("lists_changed".to_owned(), json!(changes.changed));
        details.insert("lists_gone".to_owned(), json!(changes.removed));
    }
    report.facts.push(("keys".to_owned(), counts.keys.to_string()));
    report
        .facts
        .push(("generation".to_owned(), metadata.generation.to_string()));
    for (name, count) in [
        ("written", written.keys),
        ("unchanged, not written", outcome.unchanged),
        ("bytes not written", written.unchanged_bytes),
        ("acknowledged before", written.resumed),
        ("removed", outcome.removed),
    ] {
        if count > 0 {
            report.facts.push((name.to_owned(), count.to_string()));
        }
    }
    add_counts(counts, dropped, &mut details, &mut report);
    let receipt = Receipt {
        target: target.to_owned(),
        records: counts.keys,
        files: BTreeMap::new(),
        details,
    };
    (receipt, report)
}

/// Adds the numbers of skipped rows to the receipt, and warnings about them.
pub(crate) fn add_counts(
    counts: &EntryCounts,
    dropped: u64,
    details: &mut BTreeMap<String, serde_json::Value>,
    report: &mut Report,
) {
    for (name, count, what) in [
        (
            "null_users",
            counts.null_users,
            "rows have no user (missing or out of vocabulary) and were not written",
        ),
        (
            "null_key_fields",
            counts.null_fields,
            "rows lack a value in a column of the key and were not written",
        ),
        (
            "null_recommendations",
            dropped,
            "recommendations have no value and were left out of their lists",
        ),
    ] {
        details.insert(name.to_owned(), json!(count));
        if count > 0 {
            report.warnings.push(format!("{count} {what}"));
        }
    }
}
