//! The two sides of a retrieval model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which tower encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The users of the dataset on `queries`.
    Query,
    /// The items of the model's catalogue.
    Item,
}
