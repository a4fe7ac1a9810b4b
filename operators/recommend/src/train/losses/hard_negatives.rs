//! Hard negatives: what a frozen copy of the model would recommend to the user of an interaction.
//!
//! A negative that the model ranks high already teaches more than one that it has given up. But its probability of being
//! drawn depends on the users of the batch. For these users it is known exactly: a user whose list has n items, of which
//! m are drawn, adds m / n draws of each of them to what can be expected. With that in the probability of a candidate,
//! the correction of the loss stays what it is without hard negatives, the probability of the mixture (Veach and Guibas
//! 1995, the balance heuristic), and the loss an estimate of the softmax over the whole catalogue, with less variance.

use std::collections::BTreeMap;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use towline_kernels::{Excluded, ItemIndex, Proposer, Search, TopKError};

use crate::data::feature_table::FeatureTable;
use crate::towers::Side;
use crate::towers::towers::Towers;
use crate::train::config::training_options::HardNegatives;
use towline_api::{Context, OperatorError, Result};

/// A copy of the model that does not learn, with the items that it can choose from.
#[derive(Debug)]
pub(crate) struct Frozen {
    settings: HardNegatives,
    towers: Towers,
    index: ItemIndex,
}

/// The hard negatives of a batch. Items are named by their places in the catalogue of the training rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Hard {
    /// What was drawn, draw by draw.
    pub(crate) drawn: Vec<u32>,
    /// How often an item could be expected to be drawn, for these users.
    pub(crate) expected: BTreeMap<u32, f64>,
}

impl Frozen {
    /// Freezes `towers`; `items` are the catalogue.
    pub(crate) fn new(
        settings: HardNegatives,
        towers: Towers,
        items: &FeatureTable,
        context: &Context,
    ) -> Result<Self> {
        let (dim, threads) = (towers.dim(), context.threads);
        let embeddings = towers.embed(Side::Item, items, threads)?;
        let index = ItemIndex::new(Proposer::best(dim), embeddings, dim, threads).map_err(diverged)?;
        Ok(Frozen {
            settings,
            towers,
            index,
        })
    }

    /// Draws for each row of `queries` from what the copy would recommend, less the items at the places `known`, which are
    /// ascending for each row.
    pub(crate) fn draw(
        &self,
        queries: &FeatureTable,
        known: &[Vec<u32>],
        context: &Context,
        rng: &mut ChaCha8Rng,
    ) -> Result<Hard> {
        let embeddings = self.towers.embed(Side::Query, queries, context.threads)?;
        let search = Search {
            k: self.settings.top,
            threads: context.threads,
            exclude: &|query| Excluded::Rows(&known[query]),
            stop: &|| context.cancel.is_cancelled(),
            done: &|_| {},
        };
        let found = self.index.search(&embeddings, &search);
        context.cancel.check()?;
        let lists = found.map_err(diverged)?.lists;
        let mut hard = Hard::default();
        for list in lists.iter().filter(|list| !list.is_empty()) {
            let each = self.settings.each;
            let expected = each as f64 / list.len() as f64;
            for hit in list {
                *hard.expected.entry(hit.row).or_default() += expected;
            }
            let draw = |_| list[rng.random_range(0..list.len())].row;
            hard.drawn.extend((0..each).map(draw));
        }
        Ok(hard)
    }
}

fn diverged(error: TopKError) -> OperatorError {
    OperatorError::invalid(match error {
        TopKError::Item(_) | TopKError::Query(_) | TopKError::Score { .. } => {
            "the embeddings that hard negatives are looked for with are not finite: the training has diverged; lower \
             `learning_rate`, or limit the gradients with `clip_norm`"
                .to_owned()
        }
        TopKError::Shape { .. } | TopKError::Stopped => error.to_string(),
    })
}
