//! A stored two-tower model, ready to be used.

use super::catalogue::{Catalogue, ITEMS, Items};
use super::ids::Originals;
use super::towers::{Architecture, Towers, WEIGHTS};
use crate::contract::{Cancel, DatasetFiles, ModelFiles, ModelType, OperatorError, Result, TableFile};

/// A model in memory.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    /// Its weights.
    pub(crate) towers: Towers,
    /// What it can recommend.
    pub(crate) catalogue: Catalogue,
    /// What the ids of users stand for.
    pub(crate) users: Originals,
    /// What it was trained on.
    pub(crate) model_type: ModelType,
}

impl LoadedModel {
    /// Reads a model.
    pub(crate) fn load(files: &ModelFiles, cancel: &Cancel) -> Result<Self> {
        let architecture: Architecture = serde_json::from_value(files.description.clone())
            .map_err(|error| OperatorError::invalid(format!("not a two-tower model: {error}")))?;
        let file = |name: &str| {
            files.files.get(name).ok_or_else(|| OperatorError::invalid(format!("the model has no file `{name}`")))
        };
        let towers = Towers::read(architecture, file(WEIGHTS)?)?;
        let model_type = files.model_type.clone();
        let (Some(user), Some(item)) = (model_type.user_column(), model_type.item_column()) else {
            return Err(OperatorError::invalid("the model does not say which columns hold its ids"));
        };
        let users = Originals::of(user, &files.vocabularies)?;
        let items = Items::read(file(ITEMS)?, &model_type.item, &model_type.item_id, cancel)?;
        let catalogue = Catalogue::new(&items, &Originals::of(item, &files.vocabularies)?)?;
        Ok(LoadedModel { towers, catalogue, users, model_type })
    }

    /// The embeddings of the catalogue, row-major [items, dim].
    pub(crate) fn item_embeddings(&self, threads: usize) -> Result<Vec<f32>> {
        self.towers.item.embed(&self.catalogue.table, self.towers.normalize, threads)
    }

    /// Width of the embeddings.
    pub(crate) fn dim(&self) -> usize {
        self.towers.item.shape.dim()
    }
}

/// The tables of one split, or of all.
pub(crate) fn tables<'a>(dataset: &'a DatasetFiles, split: Option<&str>) -> Result<Vec<&'a TableFile>> {
    match split {
        None => Ok(dataset.splits.iter().map(|(_, table)| table).collect()),
        Some(name) => match dataset.split(name) {
            Some(table) => Ok(vec![table]),
            None => Err(OperatorError::invalid(format!("there is no split `{name}`"))),
        },
    }
}
