//! A setting for all columns at once, or for some of them by name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
