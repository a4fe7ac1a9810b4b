//! A model's ranked lists for the evaluation queries.

use crate::data::catalogue::Catalogue;
use crate::data::feature_table::EncodedTable;
use crate::data::tower_columns::{columns_of, interaction_columns};
use crate::evaluate::evaluate::{DATA, Evaluate, Per, SEEN};
use crate::evaluate::evaluation::Cases;
use crate::evaluate::metrics::Average;
use crate::model::interaction_history::Seen;
use crate::model::stored_model::{LoadedModel, tables};
use towline_api::{Artifact, Context, DEFAULT_SPLIT, Inputs, ModelFiles, OperatorError, Result};

/// A model with its rankings.
pub(crate) struct Ranked {
    pub(crate) model: LoadedModel,
    /// The user histories, in catalogue rows.
    pub(crate) seen: Seen,
    /// The evaluation queries, in catalogue rows.
    pub(crate) cases: Cases,
    /// The model's list for each distinct query.
    pub(crate) lists: Vec<Vec<u32>>,
}

impl Ranked {
    /// Ranks with the model on `port`.
    pub(crate) fn of(
        evaluate: &Evaluate,
        model: &ModelFiles,
        inputs: &Inputs<Artifact>,
        context: &Context,
    ) -> Result<Self> {
        let model = LoadedModel::load(model, &context.cancel)?;
        let data = DATA.files(inputs)?;
        let columns = columns_of(&interaction_columns(&model.model_type), data, DATA.name())?;
        let table = EncodedTable::read(tables(data, Some(&evaluate.split))?, &columns, &context.cancel)?;
        let seen = seen(evaluate.exclude_seen, inputs, &model, context)?;
        let (model_type, catalogue) = (&model.model_type, &model.catalogue);
        let cases = match evaluate.per {
            Per::User => Cases::per_user(&table, model_type, catalogue, &model.users, &seen)?,
            Per::Interaction => Cases::per_interaction(&table, model_type, catalogue, &seen)?,
        };
        if let Some(why) = cases.hopeless(&evaluate.split, table.rows).filter(|_| cases.len() == 0) {
            return Err(OperatorError::invalid(why));
        }
        let longest = longest(&evaluate.k, catalogue);
        let lists = cases.by_model(&model.ranker(None, context.threads)?, longest, &seen, context)?;
        Ok(Ranked {
            model,
            seen,
            cases,
            lists,
        })
    }

    /// The metrics of the model's lists at each k.
    pub(crate) fn averages(&self, ks: &[usize]) -> Vec<Average> {
        self.cases.average(&self.lists, ks, self.model.catalogue.len())
    }
}

/// The maximum list length for this catalogue.
pub(crate) fn longest(ks: &[usize], catalogue: &Catalogue) -> usize {
    ks.iter().copied().max().unwrap_or(0).min(catalogue.len())
}

fn seen(exclude: bool, inputs: &Inputs<Artifact>, model: &LoadedModel, context: &Context) -> Result<Seen> {
    if !exclude {
        return Ok(Seen::default());
    }
    match SEEN.files(inputs)? {
        Some(seen) => Seen::read(seen, None, model, SEEN.name(), &context.cancel),
        None => {
            let data = DATA.files(inputs)?;
            Seen::read(data, Some(DEFAULT_SPLIT), model, DATA.name(), &context.cancel)
        }
    }
}
