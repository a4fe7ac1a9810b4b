//! A model's ranked lists for the evaluation queries.

use crate::data::catalogue::Catalogue;
use crate::data::feature_table::FeatureTable;
use crate::data::tower_columns::{columns_of, interaction_columns};
use crate::evaluate::averaging_unit::Per;
use crate::evaluate::evaluation::EvaluationQueries;
use crate::evaluate::metrics::AverageMetrics;
use crate::model::interaction_history::InteractionHistory;
use crate::model::stored_model::{LoadedModel, tables};
use towline_api::{Artifact, Context, DEFAULT_SPLIT, DatasetPort, Inputs, ModelFiles, OperatorError, Optional, Result};

pub(crate) const DATA: DatasetPort = DatasetPort::required("data", "Interactions, encoded like the training data.");
pub(crate) const SEEN: DatasetPort<Optional> = DatasetPort::optional(
    "seen",
    "Earlier interactions, for `exclude_seen`; the split `train` of `data` by default.",
);

/// The queries to rank for.
pub(crate) struct RankedQueries<'a> {
    /// The split with the interactions.
    pub(crate) split: &'a str,
    /// Unit that metrics are averaged over: a query per user or per interaction.
    pub(crate) per: Per,
    /// Whether to exclude the items of users' histories.
    pub(crate) exclude_seen: bool,
    /// Cut-offs of the metrics.
    pub(crate) k: &'a [usize],
}

/// A model with its rankings.
pub(crate) struct ModelRankings {
    pub(crate) model: LoadedModel,
    /// The user histories, in catalogue rows.
    pub(crate) seen: InteractionHistory,
    /// The evaluation queries, in catalogue rows.
    pub(crate) cases: EvaluationQueries,
    /// The model's list for each distinct query.
    pub(crate) lists: Vec<Vec<u32>>,
}

impl ModelRankings {
    /// Ranks with the model.
    pub(crate) fn of(
        queries: &RankedQueries<'_>,
        model: &ModelFiles,
        inputs: &Inputs<Artifact>,
        context: &Context,
    ) -> Result<Self> {
        let model = LoadedModel::load(model, &context.cancel)?;
        let data = DATA.files(inputs)?;
        let columns = columns_of(&interaction_columns(&model.model_type), data, DATA.name())?;
        let table = FeatureTable::read(tables(data, Some(queries.split))?, &columns, &context.cancel)?;
        let seen = seen(queries.exclude_seen, inputs, &model, context)?;
        let (model_type, catalogue) = (&model.model_type, &model.catalogue);
        let cases = match queries.per {
            Per::User => EvaluationQueries::per_user(&table, model_type, catalogue, &model.users, &seen)?,
            Per::Interaction => EvaluationQueries::per_interaction(&table, model_type, catalogue, &seen)?,
        };
        if let Some(why) = cases.hopeless(queries.split, table.rows).filter(|_| cases.len() == 0) {
            return Err(OperatorError::invalid(why));
        }
        let longest = longest(queries.k, catalogue);
        let lists = cases.by_model(&model.ranker(None, context.threads)?, longest, &seen, context)?;
        Ok(ModelRankings {
            model,
            seen,
            cases,
            lists,
        })
    }

    /// The metrics of the model's lists at each k.
    pub(crate) fn averages(&self, ks: &[usize]) -> Vec<AverageMetrics> {
        self.cases.average(&self.lists, ks, self.model.catalogue.len())
    }
}

/// The maximum list length for this catalogue.
pub(crate) fn longest(ks: &[usize], catalogue: &Catalogue) -> usize {
    ks.iter().copied().max().unwrap_or(0).min(catalogue.len())
}

fn seen(
    exclude: bool,
    inputs: &Inputs<Artifact>,
    model: &LoadedModel,
    context: &Context,
) -> Result<InteractionHistory> {
    if !exclude {
        return Ok(InteractionHistory::default());
    }
    match SEEN.files(inputs)? {
        Some(seen) => InteractionHistory::read(seen, None, model, SEEN.name(), &context.cancel),
        None => {
            let data = DATA.files(inputs)?;
            InteractionHistory::read(data, Some(DEFAULT_SPLIT), model, DATA.name(), &context.cancel)
        }
    }
}
