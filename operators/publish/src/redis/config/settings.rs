//! Enumerated parameters of the sinks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::batch::document_format::DocumentFormat;

/// Type of the value under each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// RedisJSON document if the server has that module, else a string of the same bytes.
    #[default]
    Auto,
    /// RedisJSON document (`JSON.SET`); a server without the module is an error.
    Json,
    /// JSON string.
    String,
    /// Hash with a field per column of the input, for feature tables; the input needs no lists of recommendations then.
    Hash,
}

/// Content of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Document {
    /// `"recommendations": [1, 2]`.
    #[default]
    Ids,
    /// `"recommendations": [1, 2], "scores": [0.9, 0.5]`.
    IdsAndScores,
    /// `"recommendations": [{"id": 1, "score": 0.9}, ...]`; about four times the memory of the ids alone in RedisJSON.
    Items,
}

impl Document {
    /// Format of the documents with an encoding.
    pub(crate) fn format(self, encoding: Encoding) -> DocumentFormat {
        match (encoding, self) {
            (Encoding::Hash, _) => DocumentFormat::Fields,
            (_, Document::Ids) => DocumentFormat::Ids,
            (_, Document::IdsAndScores) => DocumentFormat::IdsAndScores,
            (_, Document::Items) => DocumentFormat::Items,
        }
    }
}

/// Publish mode: how a new generation replaces the previous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Publish {
    /// In place, key by key: readers may see a mix of both generations meanwhile. Only changed documents are written.
    #[default]
    Overwrite,
    /// Into a staging database that is then swapped with the published one atomically (`SWAPDB`). Both databases must hold
    /// nothing but the sink's keys. Not for clusters.
    Swap,
    /// Under versioned keys (`RECS:7:{USER:42}`); `RECS:CURRENT` is the number of the published generation. For clusters and
    /// shared databases; readers get the number first, or call the function `recs_get`.
    Pointer,
}

impl Publish {
    /// Name in parameters and metadata.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Publish::Overwrite => "overwrite",
            Publish::Swap => "swap",
            Publish::Pointer => "pointer",
        }
    }
}

/// Handling of stale keys: keys of users that the new generation does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StaleKeys {
    /// Remove them, if an earlier generation has written them.
    #[default]
    Remove,
    /// Keep them, permanently.
    Keep,
}

/// Publish gates: conditions that a generation must meet; otherwise nothing is published.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Minimum number of keys, as in `min_keys: 1000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_keys: Option<u64>,
    /// Minimum coverage: share of the input's rows that become a key with at least one recommendation, as in
    /// `min_coverage: 0.95`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_coverage: Option<f64>,
    /// Maximum change against the published generation, as in `max_change: { users: 0.2, by: 0.5 }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_change: Option<MaxChange>,
}

/// Maximum change between generations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxChange {
    /// Maximum share of the published users whose list changes by more than `by` or who are removed, as in `users: 0.2`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub users: f64,
    /// Threshold for a changed list: share of its items that are not in the other list, as in `by: 0.5`.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub by: f64,
}

/// Type of the values in the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    String,
    Json,
    Hash,
}

impl ValueType {
    /// Name in `RECS:META`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ValueType::String => "string",
            ValueType::Json => "json",
            ValueType::Hash => "hash",
        }
    }

    /// Command that reads a value.
    pub(crate) fn read_command(self) -> &'static str {
        match self {
            ValueType::String => "GET",
            ValueType::Json => "JSON.GET",
            ValueType::Hash => "HGETALL",
        }
    }
}

/// Distance metric of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Inner product, the score of Towline's models.
    #[default]
    Ip,
    /// Cosine similarity.
    Cosine,
    /// Euclidean distance.
    L2,
}
