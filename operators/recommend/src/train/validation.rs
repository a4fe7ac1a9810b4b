//! Validation metrics during training.

use std::collections::BTreeMap;

use crate::data::catalogue::Catalogue;
use crate::evaluate::evaluation::EvaluationQueries;
use crate::model::interaction_history::InteractionHistory;
use crate::model::ranker::Ranker;
use crate::towers::towers::Towers;
use towline_api::{Context, Result};

/// Validation metrics, as their names begin.
pub(crate) const METRICS: [&str; 2] = ["recall", "ndcg"];

/// The validation split, ready to be ranked.
pub(crate) struct Validation<'a> {
    /// The name of the split.
    pub(crate) split: &'a str,
    /// Its queries.
    pub(crate) cases: EvaluationQueries,
    /// ItemTable that are excluded from the lists.
    pub(crate) seen: InteractionHistory,
    /// Why the metrics are meaningless, if they are.
    pub(crate) hopeless: Option<String>,
    /// Lengths of the lists.
    pub(crate) at: &'a [usize],
}

impl Validation<'_> {
    /// The metrics, by name.
    pub(crate) fn measure(
        &self,
        towers: &Towers,
        catalogue: &Catalogue,
        context: &Context,
    ) -> Result<BTreeMap<String, f64>> {
        let ranker = Ranker::of_towers(towers, catalogue, None, context.threads)?;
        let longest = self.at.iter().copied().max().unwrap_or(0);
        let rankings = self.cases.by_model(&ranker, longest, &self.seen, context)?;
        let mut metrics = BTreeMap::new();
        for (k, average) in self
            .at
            .iter()
            .zip(self.cases.average(&rankings, self.at, catalogue.len()))
        {
            let [recall, _, ndcg, ..] = average.of_queries();
            for (name, value) in METRICS.iter().zip([recall, ndcg]) {
                metrics.insert(metric(self.split, name, *k), value);
            }
        }
        Ok(metrics)
    }
}

/// The full name of a metric of the validation.
pub(crate) fn metric(split: &str, name: &str, k: usize) -> String {
    format!("{split}_{name}_at_{k}")
}
