//! Static types: what flows on an edge, known before any data is read.

use serde::{Deserialize, Serialize};

use crate::{ModelType, Schema};

/// What kind of thing flows on an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Named splits of one schema.
    Dataset,
    /// A trained model.
    Model,
    /// Named numbers.
    Metrics,
    /// What a sink published.
    Receipt,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Dataset => "dataset",
            Kind::Model => "model",
            Kind::Metrics => "metrics",
            Kind::Receipt => "receipt",
        })
    }
}

/// The static type of a node's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeType {
    /// Named splits of one schema.
    Dataset(DatasetType),
    /// A trained model.
    Model(ModelType),
    /// The names of the metrics, as expectations use them.
    Metrics(Vec<String>),
    /// What a sink published.
    Receipt,
}

impl NodeType {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            NodeType::Dataset(_) => Kind::Dataset,
            NodeType::Model(_) => Kind::Model,
            NodeType::Metrics(_) => Kind::Metrics,
            NodeType::Receipt => Kind::Receipt,
        }
    }
}

/// The static type of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetType {
    /// The columns of every split.
    pub schema: Schema,
    /// The names of the splits, in order.
    pub splits: Vec<String>,
}

/// The split that stateful operators fit on, and the name of the only split of a source that makes no others.
pub const DEFAULT_SPLIT: &str = "train";

/// [`DEFAULT_SPLIT`], for parameters that name a split.
pub fn default_split() -> String {
    DEFAULT_SPLIT.to_owned()
}
