//! The architecture of towers, as a model describes itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::retrieval_type::Score;
use crate::towers::Side;
use crate::towers::activation::Activation;
use towline_api::{OperatorError, Result};

/// Normalisation of a tower's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// None: scores are dot products.
    #[default]
    None,
    /// L2 norm 1: scores are cosines.
    L2,
}

impl Normalize {
    /// The score that the product of two embeddings is.
    pub(crate) fn score(self) -> Score {
        match self {
            Normalize::None => Score::Dot,
            Normalize::L2 => Score::Cosine,
        }
    }
}

/// Pooling of the embeddings of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Mean.
    #[default]
    Mean,
    /// Sum.
    Sum,
    /// Maximum of each component.
    Max,
    /// Attention pooling with a trained query vector a of the column: the mean of the embeddings e_i with the weights
    /// softmax(e_1 · a, ..., e_n · a). The query is initialised with zeros, which is the plain mean.
    Attention,
}

/// A column of a tower that has embeddings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EmbeddingShape {
    /// The column.
    pub column: String,
    /// Number of ids.
    pub rows: usize,
    /// Width of a row.
    pub dim: usize,
    /// Pooling of several ids; without any the result is zero.
    #[serde(default)]
    pub pooling: Pool,
    /// The tensor of its table, where it shares that of another column with the same vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}

/// A column of numbers or vectors of a tower.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NumbersShape {
    /// The column.
    pub column: String,
    /// Numbers of a row.
    pub width: usize,
}

/// The shape of one tower.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TowerShape {
    /// Its columns with embeddings, in the order of their concatenation.
    pub embeddings: Vec<EmbeddingShape>,
    /// Its columns of numbers, which come after the embeddings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<NumbersShape>,
    /// Widths of its layers; the last is the width of the embedding it makes. Without layers the embeddings of the columns,
    /// all equally wide, are added instead of concatenated.
    pub layers: Vec<usize>,
    /// Activation function between its layers.
    #[serde(default, skip_serializing_if = "Activation::is_default")]
    pub activation: Activation,
}

impl TowerShape {
    /// Whether the embeddings of the columns are added instead of concatenated.
    pub fn adds(&self) -> bool {
        self.layers.is_empty()
    }

    /// Width of the concatenated or added embeddings, numbers included.
    pub(crate) fn width(&self) -> usize {
        let widths = self.embeddings.iter().map(|embedding| embedding.dim);
        if self.adds() {
            widths.max().unwrap_or(0)
        } else {
            widths.sum::<usize>() + self.numbers.iter().map(|numbers| numbers.width).sum::<usize>()
        }
    }

    /// Width of the output.
    pub(crate) fn dim(&self) -> usize {
        self.layers.last().copied().unwrap_or_else(|| self.width())
    }

    /// Each column with the place where its part of the concatenation begins, and its width.
    pub(crate) fn parts(&self) -> Vec<(&str, usize, usize)> {
        let embeddings = self.embeddings.iter().map(|e| (e.column.as_str(), e.dim));
        let numbers = self.numbers.iter().map(|n| (n.column.as_str(), n.width));
        let mut start = 0;
        let parts = embeddings.chain(numbers).map(|(column, width)| {
            let part = (column, start, width);
            start += if self.adds() { 0 } else { width };
            part
        });
        parts.collect()
    }

    /// Whether the shape is valid.
    pub(crate) fn is_sound(&self) -> bool {
        let width = self.width();
        let added = self.numbers.is_empty() && self.embeddings.iter().all(|e| e.dim == width);
        width > 0 && !self.layers.contains(&0) && (!self.adds() || added)
    }
}

/// An embedding table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableShape {
    /// The name of its tensor.
    pub(crate) name: String,
    /// Number of ids.
    pub(crate) rows: usize,
    /// Width of a row.
    pub(crate) dim: usize,
}

/// A model's description of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Architecture {
    /// The family: [`KIND`].
    pub(crate) kind: String,
    /// Normalisation of the towers' outputs.
    pub(crate) normalize: Normalize,
    /// The query (user) tower.
    pub(crate) query: TowerShape,
    /// The item tower.
    pub(crate) item: TowerShape,
}

/// The family of models that this module describes.
pub(crate) const KIND: &str = "two_tower";
/// The file of a model's weights.
pub(crate) const WEIGHTS: &str = "weights.safetensors";

/// First part of the names of a tower's tensors.
pub(crate) fn prefix(side: Side) -> &'static str {
    match side {
        Side::Query => "query",
        Side::Item => "item",
    }
}

/// The name of the tensor of a column's own table.
pub(crate) fn own_table(side: Side, column: &str) -> String {
    format!("{}.embedding.{column}", prefix(side))
}

/// The embedding tables of two towers, and for each tower the table of each of its embeddings.
pub(crate) fn tables(query: &TowerShape, item: &TowerShape) -> Result<(Vec<TableShape>, [Vec<usize>; 2])> {
    let mut tables: Vec<TableShape> = Vec::new();
    let mut place = |side: Side, shape: &EmbeddingShape| {
        let name = shape.table.clone().unwrap_or_else(|| own_table(side, &shape.column));
        let (rows, dim) = (shape.rows, shape.dim);
        let Some(place) = tables.iter().position(|table| table.name == name) else {
            tables.push(TableShape { name, rows, dim });
            return Ok(tables.len() - 1);
        };
        if (tables[place].rows, tables[place].dim) == (rows, dim) {
            return Ok(place);
        }
        let text = format!(
            "`{}` cannot share the table `{name}`, which is of another size",
            shape.column
        );
        Err(OperatorError::invalid(text))
    };
    let of_query = query.embeddings.iter().map(|shape| place(Side::Query, shape));
    let of_query = of_query.collect::<Result<_>>()?;
    let of_item = item.embeddings.iter().map(|shape| place(Side::Item, shape));
    let of_item = of_item.collect::<Result<_>>()?;
    Ok((tables, [of_query, of_item]))
}
