//! The lists of a model for the interactions that `Evaluate` measures it by.

use super::catalogue::Catalogue;
use super::columns::EncodedTable;
use super::evaluate::{Evaluate, Per};
use super::evaluation::Cases;
use super::metrics::Average;
use super::model::{LoadedModel, tables};
use super::seen::Seen;
use super::sides::{columns_of, interaction_columns};
use crate::contract::{
    Artifact, Context, DEFAULT_SPLIT, Inputs, OperatorError, Result, file_dataset_at, model_files_at,
};

/// A model and its rankings.
pub(super) struct Ranked {
    pub(super) model: LoadedModel,
    /// What users have seen before, in rows of the model's catalogue.
    pub(super) seen: Seen,
    /// The interactions, in rows of the model's catalogue.
    pub(super) cases: Cases,
    /// The model's list for each distinct query.
    pub(super) lists: Vec<Vec<u32>>,
}

impl Ranked {
    /// What the model on `port` ranks.
    pub(super) fn of(evaluate: &Evaluate, port: &str, inputs: &Inputs<Artifact>, context: &Context) -> Result<Self> {
        let model = LoadedModel::load(model_files_at(inputs, port)?, &context.cancel)?;
        let data = file_dataset_at(inputs, "data")?;
        let columns = columns_of(&interaction_columns(&model.model_type), data, "data")?;
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

    /// The averages of the model's lists at each k.
    pub(super) fn averages(&self, ks: &[usize]) -> Vec<Average> {
        self.cases.average(&self.lists, ks, self.model.catalogue.len())
    }
}

/// How many items a list of this catalogue has at most.
pub(super) fn longest(ks: &[usize], catalogue: &Catalogue) -> usize {
    ks.iter().copied().max().unwrap_or(0).min(catalogue.len())
}

fn seen(exclude: bool, inputs: &Inputs<Artifact>, model: &LoadedModel, context: &Context) -> Result<Seen> {
    if !exclude {
        return Ok(Seen::default());
    }
    match inputs.get("seen") {
        Some(_) => Seen::read(file_dataset_at(inputs, "seen")?, None, model, "seen", &context.cancel),
        None => {
            let data = file_dataset_at(inputs, "data")?;
            Seen::read(data, Some(DEFAULT_SPLIT), model, "data", &context.cancel)
        }
    }
}
