//! The parameters of publishing that are choices, each with its words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::batch::documents::Form;

/// What a key holds in the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// A document of RedisJSON where the server has that module, else a string of the same bytes.
    #[default]
    Auto,
    /// A document of RedisJSON (`JSON.SET`); a server without the module is an error.
    Json,
    /// A string of JSON.
    String,
    /// A hash with a field per column of the input, for tables of features; no lists of recommendations are needed then.
    Hash,
}

/// What a document holds.
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

impl Publish {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Publish::Overwrite => "overwrite",
            Publish::Swap => "swap",
            Publish::Pointer => "pointer",
        }
    }
}

impl Document {
    pub(crate) fn form(self, encoding: Encoding) -> Form {
        match (encoding, self) {
            (Encoding::Hash, _) => Form::Fields,
            (_, Document::Ids) => Form::Ids,
            (_, Document::IdsAndScores) => Form::IdsAndScores,
            (_, Document::Items) => Form::Items,
        }
    }
}

/// How a new generation takes the place of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Publish {
    /// Key by key, in place: readers may see keys of both while it goes on. Only what has changed is written.
    #[default]
    Overwrite,
    /// Into a second database of the server that then changes places with the first in one step (`SWAPDB`). Both
    /// databases must be the sink's own. Not for clusters.
    Swap,
    /// Under keys of its own (`RECS:7:{USER:42}`), and `RECS:CURRENT` says which generation counts. For clusters and
    /// shared databases; readers take the number first, or ask the function `recs_get`.
    Pointer,
}

/// What happens to keys of users that the new generation does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stale {
    /// They are removed, if an earlier generation has written them.
    #[default]
    Remove,
    /// They stay, for good.
    Keep,
}

/// What a generation must be like to take the place of the one before. Where it is not, nothing is published.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// At least so many keys, as in `min_keys: 1000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_keys: Option<u64>,
    /// At least this share of the rows of the input becomes a key with at least one recommendation, as in
    /// `min_coverage: 0.95`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_coverage: Option<f64>,
    /// How much may change against what is published now, as in `max_change: { users: 0.2, by: 0.5 }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_change: Option<MaxChange>,
}

/// How much may change from one generation to the next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxChange {
    /// The largest share of the users who are published now whose list may change by more than `by` or who may be gone, as
    /// in `users: 0.2`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub users: f64,
    /// How large a change counts: the share of a list's items that the other one does not have, as in `by: 0.5`.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub by: f64,
}

/// How keys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    String,
    Json,
    Hash,
}

impl Stored {
    /// The word in `RECS:META`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Stored::String => "string",
            Stored::Json => "json",
            Stored::Hash => "hash",
        }
    }
}
