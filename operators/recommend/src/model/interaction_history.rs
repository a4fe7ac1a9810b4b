//! Interaction histories of users.

use std::collections::{HashMap, HashSet};

use crate::data::catalogue::Catalogue;
use crate::data::feature_table::FeatureTable;
use crate::data::id_mapping::IdMapping;
use crate::model::id_reader::IdReader;
use crate::model::retrieval_type::RetrievalType;
use crate::model::stored_model::LoadedModel;
use towline_api::{Cancel, Column, DatasetFiles, Result};

/// The catalogue rows that each user has interacted with.
#[derive(Debug, Default)]
pub(crate) struct InteractionHistory(HashMap<i64, Vec<u32>>);

impl InteractionHistory {
    /// Reads histories from pairs in a split, or in all splits, with encoded or original ids. Unknown users have no
    /// history.
    pub(crate) fn read(
        dataset: &DatasetFiles,
        split: Option<&str>,
        model: &LoadedModel,
        port: &str,
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut reader = IdReader::new(dataset, port);
        reader.column(model.model_type.user_column(), &model.users)?;
        reader.column(model.model_type.item_column(), model.catalogue.originals())?;
        let mut seen = InteractionHistory::default();
        reader.scan(split, cancel, |_, ids| {
            for (user, item) in ids[0].iter().zip(&ids[1]) {
                if let (Some(user), Some(item)) = (user, item) {
                    seen.add(*user, *item, &model.catalogue, &model.users);
                }
            }
            Ok(())
        })?;
        seen.order();
        Ok(seen)
    }

    /// Histories from these interactions.
    pub(crate) fn of(
        table: &FeatureTable,
        model: &RetrievalType,
        catalogue: &Catalogue,
        users: &IdMapping,
    ) -> Result<Self> {
        let mut seen = InteractionHistory::default();
        let pairs = table.single(&model.user_id)?.iter().zip(table.single(&model.item_id)?);
        for (user, item) in pairs {
            seen.add(*user, *item, catalogue, users);
        }
        seen.order();
        Ok(seen)
    }

    /// Histories of the users `wanted` from the interactions of a split.
    pub(crate) fn of_users(
        dataset: &DatasetFiles,
        split: &str,
        model: &RetrievalType,
        catalogue: &Catalogue,
        (users, wanted): (&IdMapping, &HashSet<i64>),
        cancel: &Cancel,
    ) -> Result<Self> {
        let columns: Vec<&Column> = model.user_column().into_iter().chain(model.item_column()).collect();
        let mut seen = InteractionHistory::default();
        FeatureTable::scan(
            crate::model::stored_model::tables(dataset, Some(split))?,
            &columns,
            cancel,
            |batch| {
                let pairs = batch.single(&model.user_id)?.iter().zip(batch.single(&model.item_id)?);
                for (user, item) in pairs.filter(|(user, _)| wanted.contains(user)) {
                    seen.add(*user, *item, catalogue, users);
                }
                Ok(())
            },
        )?;
        seen.order();
        Ok(seen)
    }

    fn add(&mut self, user: i64, item: i64, catalogue: &Catalogue, users: &IdMapping) {
        if let (false, Some(&row)) = (users.is_reserved(user), catalogue.rows.get(&item)) {
            self.0.entry(user).or_default().push(row);
        }
    }

    fn order(&mut self) {
        for rows in self.0.values_mut() {
            rows.sort_unstable();
            rows.dedup();
            rows.shrink_to_fit();
        }
    }

    /// Whether a user has a history.
    pub(crate) fn has(&self, user: i64) -> bool {
        self.0.contains_key(&user)
    }

    /// Memory use in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.values().map(|rows| 48 + 4 * rows.len()).sum()
    }

    /// The history of each user in ascending order, ordered by encoded user id.
    pub(crate) fn into_ordered(self) -> Vec<(i64, Vec<u32>)> {
        let mut users: Vec<(i64, Vec<u32>)> = self.0.into_iter().collect();
        users.sort_unstable_by_key(|(user, _)| *user);
        users
    }

    /// A user's history in ascending order.
    pub(crate) fn by(&self, user: i64) -> &[u32] {
        self.0.get(&user).map_or(&[], Vec::as_slice)
    }
}
