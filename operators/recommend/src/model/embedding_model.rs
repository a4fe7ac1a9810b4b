//! Models that score by the dot product of a user row and an item row, stored as two towers without layers.

use crate::model::interactions::Interactions;
use crate::towers::activation::Activation;
use crate::towers::tower_shape::{EmbeddingShape, Normalize, Pool, TowerShape, WEIGHTS};
use crate::towers::towers::{Tower, Towers};
use towline_api::{Context, OperatorError, Output, Result};

/// An embedding table: column name, and row-major weights [ids, dim].
pub(crate) type ColumnTable = (String, Vec<f32>);

/// Stores a model with these tables; the embeddings of a tower are added.
pub(crate) fn stored(
    interactions: Interactions<'_>,
    dim: usize,
    query: Vec<ColumnTable>,
    item: ColumnTable,
    context: &Context,
) -> Result<Output> {
    let tower = |first: usize, tables: &[ColumnTable]| {
        let shape = |(column, weights): &ColumnTable| EmbeddingShape {
            column: column.clone(),
            rows: weights.len() / dim,
            dim,
            pooling: Pool::Mean,
            table: None,
        };
        Tower {
            shape: TowerShape {
                embeddings: tables.iter().map(shape).collect(),
                numbers: Vec::new(),
                layers: Vec::new(),
                activation: Activation::default(),
            },
            tables: (first..first + tables.len()).collect(),
            attention: vec![Vec::new(); tables.len()],
            layers: Vec::new(),
        }
    };
    let towers = Towers {
        normalize: Normalize::None,
        query: tower(0, &query),
        item: tower(query.len(), std::slice::from_ref(&item)),
        tables: query.into_iter().chain([item]).map(|(_, weights)| weights).collect(),
    };
    let weights = context.temp_file(WEIGHTS);
    towers.write(&weights)?;
    let description = serde_json::to_value(towers.architecture());
    let description = description.map_err(|error| OperatorError::internal(error.to_string()))?;
    interactions.stored(description, (WEIGHTS, weights), context)
}
