//! Entries: the result of the work of a fingerprint.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use towline_api::{ModelType, Receipt, Report, Schema};

use crate::store::stamp::Stamp;

/// A file in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// BLAKE3 of its content, in hex.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
    /// The ending of its name.
    pub extension: String,
}

/// A split of a stored dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSplit {
    /// Its name.
    pub name: String,
    /// Its Parquet file.
    pub blob: Blob,
    /// Its number of rows.
    pub rows: u64,
}

/// The content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// A dataset.
    Dataset {
        /// Columns with tags and domains.
        schema: Schema,
        /// The splits, in order.
        splits: Vec<StoredSplit>,
        /// The vocabularies that the domains name.
        vocabularies: Vec<Blob>,
    },
    /// The state of a fit.
    State {
        /// Its tables, by name.
        tables: BTreeMap<String, Blob>,
        /// Its facts.
        facts: BTreeMap<String, Value>,
    },
    /// A model.
    Model {
        /// The model's type.
        model_type: ModelType,
        /// Its description.
        description: Value,
        /// Its files, by name.
        files: BTreeMap<String, Blob>,
        /// The vocabularies of its categorical columns.
        vocabularies: Vec<Blob>,
    },
    /// Named numbers: those of the entry.
    Metrics,
    /// The receipt of a sink.
    Receipt {
        /// The receipt.
        receipt: Receipt,
    },
}

/// Entries: the result of the work of a fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The key of the fingerprint.
    pub key: String,
    /// The content.
    pub content: Content,
    /// Numbers about the work.
    #[serde(default, with = "crate::store::metrics")]
    pub metrics: BTreeMap<String, f64>,
    /// The report.
    #[serde(default)]
    pub report: Report,
    /// The duration of the work in seconds.
    pub seconds: f64,
    /// The blobs as they were when their digests were last checked, by digest: while a blob keeps its stamp it is whole.
    #[serde(default)]
    pub stamps: BTreeMap<String, Stamp>,
    /// The shared stores that have it, by their marks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub shared: BTreeSet<String>,
}

impl Entry {
    /// The files that the entry needs.
    pub fn blobs(&self) -> Vec<&Blob> {
        match &self.content {
            Content::Dataset {
                splits, vocabularies, ..
            } => splits.iter().map(|split| &split.blob).chain(vocabularies).collect(),
            Content::State { tables, .. } => tables.values().collect(),
            Content::Model {
                files, vocabularies, ..
            } => files.values().chain(vocabularies).collect(),
            Content::Metrics | Content::Receipt { .. } => Vec::new(),
        }
    }

    /// Digest of what was stored: entries with equal contents have equal digests, whatever their keys. Metrics are
    /// content only where they are all there is; elsewhere they are about the work, and nothing downstream reads them.
    pub fn content_digest(&self) -> String {
        let metrics = matches!(self.content, Content::Metrics).then(|| crate::store::metrics::json(&self.metrics));
        crate::store::digest_json(&serde_json::json!({ "content": self.content, "metrics": metrics }))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use towline_api::{Column, Tag};

    use super::*;

    #[test]
    fn equal_bytes_under_other_names_types_or_tags_are_another_content() {
        let dataset = |column: Column| Entry {
            key: "key".into(),
            content: Content::Dataset {
                schema: Schema { columns: vec![column] },
                splits: Vec::new(),
                vocabularies: Vec::new(),
            },
            metrics: BTreeMap::new(),
            report: Report::default(),
            seconds: 0.0,
            stamps: BTreeMap::new(),
            shared: BTreeSet::new(),
        };
        let plain = || Column::new("user", DataType::Int64, true);
        let others = [
            Column::new("item", DataType::Int64, true),
            Column::new("user", DataType::Int32, true),
            Column::new("user", DataType::Int64, false),
            plain().with_tag(Tag::User),
        ];
        let same = Entry {
            key: "another key".into(),
            seconds: 9.0,
            shared: BTreeSet::from(["somewhere".into()]),
            ..dataset(plain())
        };
        assert_eq!(dataset(plain()).content_digest(), same.content_digest());
        for other in others {
            assert_ne!(
                dataset(plain()).content_digest(),
                dataset(other.clone()).content_digest(),
                "{other:?}"
            );
        }
    }
}
