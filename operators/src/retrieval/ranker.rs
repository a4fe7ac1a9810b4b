//! Ranking a catalogue for users, whatever the model.

use super::catalogue::Catalogue;
use super::columns::EncodedTable;
use super::item_weights::ItemWeights;
use super::scoring::{Candidates, Scored};
use super::towers::Towers;
use crate::contract::{Context, Result};

/// A model that is ready to rank its catalogue.
#[derive(Debug)]
pub(crate) enum Ranker<'a> {
    /// By dot product.
    Embeddings {
        /// The towers.
        towers: &'a Towers,
        /// The embeddings of the catalogue, row-major [items, dim].
        items: Vec<f32>,
    },
    /// By weights between items.
    ItemWeights(&'a ItemWeights),
}

impl<'a> Ranker<'a> {
    /// The ranker of two towers.
    pub(crate) fn of_towers(towers: &'a Towers, catalogue: &Catalogue, threads: usize) -> Result<Self> {
        let items = towers.item.embed(&catalogue.table, towers.normalize, threads)?;
        Ok(Ranker::Embeddings { towers, items })
    }

    /// The `k` best items of each query, a row of `queries` by the user at the same place of `users`, but those in
    /// `exclude(query)`, which is ascending. `done` hears of finished queries.
    pub(crate) fn top_k<'e>(
        &self,
        queries: &EncodedTable,
        users: &[i64],
        k: usize,
        exclude: &(dyn Fn(usize) -> &'e [u32] + Sync),
        context: &Context,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Vec<Scored>>> {
        match self {
            Ranker::Embeddings { towers, items } => {
                let embeddings = towers.query.embed(queries, towers.normalize, context.threads)?;
                let candidates = Candidates {
                    embeddings: items,
                    dim: towers.item.shape.dim(),
                };
                candidates.top_k(&embeddings, k, exclude, context.threads, &context.cancel, done)
            }
            Ranker::ItemWeights(model) => model.top_k(users, k, exclude, context.threads, &context.cancel, done),
        }
    }
}
