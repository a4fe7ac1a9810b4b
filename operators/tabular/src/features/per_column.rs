//! A setting for all columns at once, or for some of them by name.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// One value for all columns, or a mapping from columns to values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PerColumn<T> {
    /// The same for every column.
    All(T),
    /// By column; the others have the default.
    Columns(BTreeMap<String, T>),
}

impl<T: Copy> PerColumn<T> {
    /// The value for a column, if one is given.
    pub fn of(&self, column: &str) -> Option<T> {
        match self {
            PerColumn::All(value) => Some(*value),
            PerColumn::Columns(columns) => columns.get(column).copied(),
        }
    }

    /// Every value that is given.
    pub fn values(&self) -> Vec<T> {
        match self {
            PerColumn::All(value) => vec![*value],
            PerColumn::Columns(columns) => columns.values().copied().collect(),
        }
    }

    /// The columns that values are given for by name.
    pub fn names(&self) -> Vec<&str> {
        match self {
            PerColumn::All(_) => Vec::new(),
            PerColumn::Columns(columns) => columns.keys().map(String::as_str).collect(),
        }
    }
}

/// The schema of whole numbers from `minimum` to `maximum`, one for all columns or one for each; `optional` allows none.
fn whole_numbers(minimum: u64, maximum: u64, optional: bool) -> Schema {
    let number = json!({ "type": "integer", "minimum": minimum, "maximum": maximum });
    let mut options = vec![
        number.clone(),
        json!({ "type": "object", "additionalProperties": number }),
    ];
    if optional {
        options.push(json!({ "type": "null" }));
    }
    json_schema!({ "anyOf": options })
}

/// Numbers of occurrences.
pub(crate) fn occurrences(_: &mut SchemaGenerator) -> Schema {
    whole_numbers(1, i64::MAX as u64, false)
}

/// Numbers of ids that leave one for a value.
pub(crate) fn sizes(_: &mut SchemaGenerator) -> Schema {
    whole_numbers(4, i64::MAX as u64, true)
}

/// Numbers of out-of-vocabulary buckets.
pub(crate) fn few_buckets(_: &mut SchemaGenerator) -> Schema {
    whole_numbers(1, 1 << 24, false)
}

/// Numbers of hash buckets.
pub(crate) fn many_buckets(_: &mut SchemaGenerator) -> Schema {
    whole_numbers(1, (1 << 31) - 1, false)
}
