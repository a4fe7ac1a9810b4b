//! What users have interacted with already.

use std::collections::HashMap;

use super::catalogue::Catalogue;
use super::columns::EncodedTable;
use super::ids::Originals;
use super::model::{LoadedModel, tables};
use super::sides::columns_of;
use crate::contract::{Cancel, DatasetFiles, ModelType, Result};

/// The rows of the catalogue that each user has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<i64, Vec<u32>>);

impl Seen {
    /// What the interactions of a split, or of all, show. Users without an identity have seen nothing.
    pub(crate) fn read(
        dataset: &DatasetFiles,
        split: Option<&str>,
        model: &LoadedModel,
        port: &str,
        cancel: &Cancel,
    ) -> Result<Self> {
        let model_type = &model.model_type;
        let wanted: Vec<_> = model_type
            .user_column()
            .into_iter()
            .chain(model_type.item_column())
            .collect();
        let columns = columns_of(&wanted, dataset, port)?;
        let table = EncodedTable::read(tables(dataset, split)?, &columns, cancel)?;
        Self::of(&table, model_type, &model.catalogue, &model.users)
    }

    /// What these interactions show.
    pub(crate) fn of(
        table: &EncodedTable,
        model: &ModelType,
        catalogue: &Catalogue,
        users: &Originals,
    ) -> Result<Self> {
        let mut seen: HashMap<i64, Vec<u32>> = HashMap::new();
        let pairs = table.single(&model.user_id)?.iter().zip(table.single(&model.item_id)?);
        for (user, item) in pairs.filter(|(user, _)| !users.is_reserved(**user)) {
            if let Some(&row) = catalogue.rows.get(item) {
                seen.entry(*user).or_default().push(row);
            }
        }
        for rows in seen.values_mut() {
            rows.sort_unstable();
            rows.dedup();
        }
        Ok(Seen(seen))
    }

    /// What each user has seen, ascending, in order of the encoded id.
    pub(crate) fn into_ordered(self) -> Vec<(i64, Vec<u32>)> {
        let mut users: Vec<(i64, Vec<u32>)> = self.0.into_iter().collect();
        users.sort_unstable_by_key(|(user, _)| *user);
        users
    }

    /// What a user has seen, ascending.
    pub(crate) fn by(&self, user: i64) -> &[u32] {
        self.0.get(&user).map_or(&[], Vec::as_slice)
    }
}
