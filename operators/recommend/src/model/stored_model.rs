//! Loads stored retrieval models.

use crate::data::catalogue::{Catalogue, ITEMS, ItemTable};
use crate::data::id_mapping::IdMapping;
use crate::model::item_weights;
use crate::model::item_weights::ItemWeights;
use crate::model::ranker::Ranker;
use crate::model::retrieval_type::RetrievalType;
use crate::towers::tower_shape::{Architecture, WEIGHTS};
use crate::towers::towers::Towers;
use towline_api::{Cancel, DatasetFiles, ModelFiles, OperatorError, Result, TableFile};

/// The scoring function of a model.
#[derive(Debug)]
pub(crate) enum Scorer {
    /// Dot product of two embeddings.
    Towers(Towers),
    /// Item-to-item weights.
    ItemWeights(ItemWeights),
}

/// A model in memory.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    /// The scoring function.
    pub(crate) scorer: Scorer,
    /// Recommendable items.
    pub(crate) catalogue: Catalogue,
    /// Mapping from encoded to original user ids.
    pub(crate) users: IdMapping,
    /// The model's type: columns and score.
    pub(crate) model_type: RetrievalType,
}

impl LoadedModel {
    /// Reads a model.
    pub(crate) fn load(files: &ModelFiles, cancel: &Cancel) -> Result<Self> {
        let file = |name: &str| {
            files
                .files
                .get(name)
                .ok_or_else(|| OperatorError::internal(format!("the model has no file `{name}`")))
        };
        let model_type = RetrievalType::of(&files.model_type);
        let model_type = model_type.map_err(|problem| OperatorError::invalid(problem.message))?;
        let (Some(user), Some(item)) = (model_type.user_column(), model_type.item_column()) else {
            return Err(OperatorError::internal("the model has no id columns"));
        };
        let users = IdMapping::of(user, &files.vocabularies)?;
        let items = ItemTable::read(file(ITEMS)?, &model_type.item, &model_type.item_id, cancel)?;
        let catalogue = Catalogue::new(&items, &IdMapping::of(item, &files.vocabularies)?)?;
        let unknown = |error: serde_json::Error| OperatorError::invalid(format!("not a model of Towline: {error}"));
        let scorer = if files.description.get("kind").and_then(serde_json::Value::as_str) == Some(item_weights::KIND) {
            Scorer::ItemWeights(ItemWeights::read(file(item_weights::FILE)?, catalogue.len())?)
        } else {
            let architecture: Architecture = serde_json::from_value(files.description.clone()).map_err(unknown)?;
            Scorer::Towers(Towers::read(architecture, file(WEIGHTS)?)?)
        };
        Ok(LoadedModel {
            scorer,
            catalogue,
            users,
            model_type,
        })
    }

    /// Prepares to rank the catalogue, or its rows `eligible` in ascending order.
    pub(crate) fn ranker(&self, eligible: Option<Vec<u32>>, threads: usize) -> Result<Ranker<'_>> {
        match &self.scorer {
            Scorer::Towers(towers) => Ranker::of_towers(towers, &self.catalogue, eligible, threads),
            Scorer::ItemWeights(model) => Ok(Ranker::of_item_weights(model, &self.catalogue, eligible)),
        }
    }

    /// The towers, if the model has embeddings.
    pub(crate) fn towers(&self) -> Result<&Towers> {
        match &self.scorer {
            Scorer::Towers(towers) => Ok(towers),
            Scorer::ItemWeights(_) => Err(OperatorError::internal("this model has no embeddings")),
        }
    }
}

/// The tables of one split, or of all.
pub(crate) fn tables<'a>(dataset: &'a DatasetFiles, split: Option<&str>) -> Result<Vec<&'a TableFile>> {
    match split {
        None => Ok(dataset.splits.iter().map(|(_, table)| table).collect()),
        Some(name) => match dataset.split(name) {
            Some(table) => Ok(vec![table]),
            None => Err(OperatorError::internal(format!("there is no split `{name}`"))),
        },
    }
}
