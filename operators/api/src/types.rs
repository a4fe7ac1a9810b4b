//! Static types: what flows on an edge, known before any data is read.

use serde::{Deserialize, Serialize};

use crate::{Column, Schema};

/// What kind of thing flows on an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Named splits of one schema.
    Dataset,
    /// A trained retrieval model.
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
    /// A trained retrieval model.
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

/// The static type of a retrieval model: what it was trained on, so that data of another shape is refused before a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelType {
    /// The columns that the query (user) tower reads, the user's id among them.
    pub query: Schema,
    /// The columns that the item tower reads, the item's id among them.
    pub item: Schema,
    /// Name of the user's id column.
    pub user_id: String,
    /// Name of the item's id column.
    pub item_id: String,
    /// Width of the embeddings, where the model has them.
    pub dim: Option<usize>,
    /// How the embeddings make a score, where the model has them.
    #[serde(default)]
    pub score: Option<Score>,
    /// Names of the metrics that training leaves behind.
    pub metrics: Vec<String>,
}

/// How two embeddings make a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// By their dot product.
    Dot,
    /// By the cosine of the angle between them.
    Cosine,
}

impl ModelType {
    /// The user's id column.
    pub fn user_column(&self) -> Option<&Column> {
        self.query.get(&self.user_id)
    }

    /// The item's id column.
    pub fn item_column(&self) -> Option<&Column> {
        self.item.get(&self.item_id)
    }
}

/// The split that stateful operators fit on, and the name of the only split of a source that makes no others.
pub const DEFAULT_SPLIT: &str = "train";

/// [`DEFAULT_SPLIT`], for parameters that name a split.
pub fn default_split() -> String {
    DEFAULT_SPLIT.to_owned()
}
