//! Models whose scores are dot products of a row per user and a row per item: stored as two towers without layers.

use super::interactions::Interactions;
use super::towers::{EmbeddingShape, Normalize, Pool, Tower, TowerShape, Towers, WEIGHTS};
use crate::contract::{Context, OperatorError, Output, Result};

/// The table of a column: its name and its weights, row-major [ids, dim].
pub(crate) type ColumnTable = (String, Vec<f32>);

/// The model with these tables; those of a side are added.
pub(crate) fn stored(
    interactions: Interactions<'_>,
    dim: usize,
    query: Vec<ColumnTable>,
    item: ColumnTable,
    context: &Context,
) -> Result<Output> {
    let tower = |tables: Vec<ColumnTable>| {
        let shape = |(column, weights): &ColumnTable| EmbeddingShape {
            column: column.clone(),
            rows: weights.len() / dim,
            dim,
            pooling: Pool::Mean,
        };
        Tower {
            shape: TowerShape {
                embeddings: tables.iter().map(shape).collect(),
                layers: Vec::new(),
            },
            tables: tables.into_iter().map(|(_, weights)| weights).collect(),
            layers: Vec::new(),
        }
    };
    let towers = Towers {
        normalize: Normalize::None,
        query: tower(query),
        item: tower(vec![item]),
    };
    let weights = context.temp_file(WEIGHTS);
    towers.write(&weights)?;
    let description = serde_json::to_value(towers.architecture());
    let description = description.map_err(|error| OperatorError::invalid(error.to_string()))?;
    interactions.stored(description, (WEIGHTS, weights), context)
}
