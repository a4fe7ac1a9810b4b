//! A parameter with one value for all columns, or a value per column.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// One value for all columns, or a mapping from column to value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PerColumn<T> {
    /// The same value for every column.
    All(T),
    /// A value per column; other columns have the default.
    Columns(BTreeMap<String, T>),
}

impl<T: Copy> PerColumn<T> {
    /// The value for a column, if set.
    pub fn of(&self, column: &str) -> Option<T> {
        match self {
            PerColumn::All(value) => Some(*value),
            PerColumn::Columns(columns) => columns.get(column).copied(),
        }
    }

    /// All values that are set.
    pub fn values(&self) -> Vec<T> {
        match self {
            PerColumn::All(value) => vec![*value],
            PerColumn::Columns(columns) => columns.values().copied().collect(),
        }
    }

    /// The columns with a value of their own.
    pub fn names(&self) -> Vec<&str> {
        match self {
            PerColumn::All(_) => Vec::new(),
            PerColumn::Columns(columns) => columns.keys().map(String::as_str).collect(),
        }
    }
}

/// JSON Schema of an integer from `minimum` to `maximum`, for all columns or per column; `optional` also allows null.
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

/// Schema of frequencies.
pub(crate) fn occurrences(_: &mut SchemaGenerator) -> Schema {
    whole_numbers(1, i64::MAX as u64, false)
}

/// Schema of vocabulary sizes, which must leave an id for at least one value.
pub(crate) fn sizes(_: &mut SchemaGenerator) -> Schema {
    whole_numbers(4, i64::MAX as u64, true)
}

/// Schema of the number of out-of-vocabulary buckets.
pub(crate) fn few_buckets(_: &mut SchemaGenerator) -> Schema {
    whole_numbers(1, 1 << 24, false)
}

/// Schema of the number of hash buckets.
pub(crate) fn many_buckets(_: &mut SchemaGenerator) -> Schema {
    whole_numbers(1, (1 << 31) - 1, false)
}
