//! Top-k ranking of a catalogue, for every type of model.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use towline_kernels::{Excluded, ItemIndex, Proposer, Search, TopKError};

use crate::data::catalogue::Catalogue;
use crate::data::feature_table::FeatureTable;
use crate::model::item_weights::ItemWeights;
use crate::towers::Side;
use crate::towers::scoring::Scored;
use crate::towers::towers::Towers;
use towline_api::{Context, OperatorError, Result};

/// A model prepared to rank its catalogue or a part of it.
#[derive(Debug)]
pub(crate) struct Ranker<'a> {
    way: Scoring<'a>,
    catalogue: &'a Catalogue,
    /// The eligible catalogue rows in ascending order, `None` for all.
    eligible: Option<Vec<u32>>,
    scored: AtomicU64,
}

#[derive(Debug)]
enum Scoring<'a> {
    /// Dot products with the eligible items.
    Embeddings { towers: &'a Towers, items: ItemIndex },
    /// Item-to-item weights.
    ItemWeights(&'a ItemWeights),
}

impl<'a> Ranker<'a> {
    /// Prepares a two-tower model.
    pub(crate) fn of_towers(
        towers: &'a Towers,
        catalogue: &'a Catalogue,
        eligible: Option<Vec<u32>>,
        threads: usize,
    ) -> Result<Self> {
        let dim = towers.dim();
        let embeddings = match &eligible {
            Some(rows) => {
                let rows: Vec<usize> = rows.iter().map(|row| *row as usize).collect();
                towers.embed(Side::Item, &catalogue.table.select(&rows), threads)?
            }
            None => towers.embed(Side::Item, &catalogue.table, threads)?,
        };
        let items = ItemIndex::new(Proposer::best(dim), embeddings, dim, threads)
            .map_err(|error| explained(error, catalogue, eligible.as_deref()))?;
        Ok(Ranker {
            way: Scoring::Embeddings { towers, items },
            catalogue,
            eligible,
            scored: AtomicU64::new(0),
        })
    }

    /// Prepares an item-to-item model.
    pub(crate) fn of_item_weights(
        model: &'a ItemWeights,
        catalogue: &'a Catalogue,
        eligible: Option<Vec<u32>>,
    ) -> Self {
        Ranker {
            way: Scoring::ItemWeights(model),
            catalogue,
            eligible,
            scored: AtomicU64::new(0),
        }
    }

    /// Number of eligible items.
    pub(crate) fn len(&self) -> usize {
        self.eligible.as_ref().map_or(self.catalogue.len(), Vec::len)
    }

    /// Memory of the items in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.way {
            Scoring::Embeddings { towers, .. } => self.len() * (5 * towers.dim() + 8),
            Scoring::ItemWeights(model) => model.bytes(),
        }
    }

    /// Memory of a query during ranking in bytes, without its list of `k` items.
    pub(crate) fn bytes_of_query(&self) -> usize {
        match &self.way {
            Scoring::Embeddings { towers, .. } => 9 * towers.dim(),
            Scoring::ItemWeights(_) => 0,
        }
    }

    /// The algorithm that proposes candidates and the number scored so far, if not all items are scored.
    pub(crate) fn proposals(&self) -> Option<(&'static str, u64)> {
        match &self.way {
            Scoring::Embeddings { items, .. } => Some((items.proposer().name(), self.scored.load(Ordering::Relaxed))),
            Scoring::ItemWeights(_) => None,
        }
    }

    /// The `k` best items of each query, excluding the catalogue rows `exclude(query)`, which are ascending. Row `i` of
    /// `queries` belongs to `users[i]`. `done` reports finished queries.
    pub(crate) fn top_k<'e>(
        &self,
        queries: &FeatureTable,
        users: &[i64],
        k: usize,
        exclude: &(dyn Fn(usize) -> &'e [u32] + Sync),
        context: &Context,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Vec<Scored>>> {
        let (towers, items) = match &self.way {
            Scoring::Embeddings { towers, items } => (towers, items),
            Scoring::ItemWeights(model) => {
                let mut listed = vec![self.eligible.is_none(); self.catalogue.len()];
                for row in self.eligible.iter().flatten() {
                    listed[*row as usize] = true;
                }
                let eligible =
                    |query: usize, row: u32| listed[row as usize] && exclude(query).binary_search(&row).is_err();
                return model.top_k(users, k, &eligible, context.threads, &context.cancel, done);
            }
        };
        let embeddings = towers.embed(Side::Query, queries, context.threads)?;
        // The index has eligible items only, so excluded rows are mapped to its rows.
        let places: Option<Vec<Vec<u32>>> = self.eligible.as_ref().map(|eligible| {
            let place = |row: &u32| eligible.binary_search(row).ok().map(|place| place as u32);
            let places = (0..queries.rows).map(|query| exclude(query).iter().filter_map(place).collect());
            places.collect()
        });
        let found = items.search(
            &embeddings,
            &Search {
                k,
                threads: context.threads,
                exclude: &|query| match &places {
                    Some(places) => Excluded::Rows(&places[query]),
                    None => Excluded::Rows(exclude(query)),
                },
                stop: &|| context.cancel.is_cancelled(),
                done,
            },
        );
        context.cancel.check()?;
        let found = found.map_err(|error| explained(error, self.catalogue, self.eligible.as_deref()))?;
        let scored: u64 = found.proposed.iter().map(|count| u64::from(*count)).sum();
        self.scored.fetch_add(scored, Ordering::Relaxed);
        let row = |place: u32| {
            self.eligible
                .as_ref()
                .map_or(place, |eligible| eligible[place as usize])
        };
        let lists = found.lists.into_iter().map(|list| {
            let list = list.into_iter().map(|hit| Scored {
                row: row(hit.row),
                score: hit.score,
            });
            list.collect()
        });
        Ok(lists.collect())
    }
}

/// Translates an error of the kernel into the user's terms.
fn explained(error: TopKError, catalogue: &Catalogue, eligible: Option<&[u32]>) -> OperatorError {
    let name = |place: usize| {
        let row = eligible.map_or(place, |eligible| eligible[place] as usize);
        let options = FormatOptions::default();
        ArrayFormatter::try_new(&catalogue.original, &options)
            .map_or_else(|_| row.to_string(), |names| names.value(row).to_string())
    };
    OperatorError::invalid(match error {
        TopKError::Item(place) => format!(
            "the embedding of item {} is not finite: the training has diverged; try a lower learning rate",
            name(place)
        ),
        TopKError::Query(_) => {
            "the embedding of a user is not finite: the training has diverged; try a lower learning rate".to_owned()
        }
        TopKError::Score { item, .. } => format!(
            "the score of item {} is NaN: the training has diverged; try a lower learning \
             rate or `normalize: l2`",
            name(item)
        ),
        TopKError::Shape { .. } | TopKError::Stopped => error.to_string(),
    })
}
