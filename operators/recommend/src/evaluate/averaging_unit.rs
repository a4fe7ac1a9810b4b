//! The unit that metrics are averaged over.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Unit that metrics are averaged over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Users: all items of a user in the split are relevant. Users without a known id are skipped.
    #[default]
    User,
    /// Rows: only the row's item is relevant.
    Interaction,
}
