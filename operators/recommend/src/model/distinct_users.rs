//! The distinct users of a dataset.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use crate::data::feature_table::FeatureTable;
use crate::data::tower_columns::columns_of;
use crate::model::stored_model::{LoadedModel, tables};
use towline_api::{BATCH_ROWS, Cancel, Code, Column, DatasetFiles, Problem, Result};

/// Distinct users with their features, ordered by original id.
#[derive(Debug)]
pub(crate) struct DistinctUsers {
    /// Encoded ids.
    pub(crate) ids: Vec<i64>,
    /// Original ids.
    pub(crate) original: ArrayRef,
    /// Query features of each user's last row.
    pub(crate) table: FeatureTable,
    /// Number of rows whose user id is null or out of vocabulary; an output cannot name these users.
    pub(crate) rows_without_user_id: u64,
}

impl DistinctUsers {
    /// Reads the users of a split, or of all splits in order, with memory proportional to the number of users.
    pub(crate) fn read(
        dataset: &DatasetFiles,
        split: Option<&str>,
        model: &LoadedModel,
        port: &str,
        cancel: &Cancel,
    ) -> Result<Self> {
        let wanted: Vec<&Column> = model.model_type.query.columns.iter().collect();
        let columns = columns_of(&wanted, dataset, port)?;
        let mut held = FeatureTable::empty(&columns);
        let mut last: BTreeMap<i64, usize> = BTreeMap::new();
        let mut rows_without_user_id = 0;
        FeatureTable::scan(tables(dataset, split)?, &columns, cancel, |batch| {
            let start = held.rows;
            for (row, &id) in batch.single(&model.model_type.user_id)?.iter().enumerate() {
                if model.users.is_reserved(id) {
                    rows_without_user_id += 1;
                } else {
                    last.insert(id, start + row);
                }
            }
            held.append(&batch)?;
            if held.rows > 2 * last.len() + BATCH_ROWS {
                let rows: Vec<usize> = last.values().copied().collect();
                held = held.select(&rows);
                last.values_mut().enumerate().for_each(|(place, row)| *row = place);
            }
            Ok(())
        })?;
        let (ids, rows): (Vec<i64>, Vec<usize>) = last.into_iter().unzip();
        let order = model.users.ascending(&ids)?;
        let ids: Vec<i64> = order.iter().map(|&place| ids[place]).collect();
        let rows: Vec<usize> = order.iter().map(|&place| rows[place]).collect();
        Ok(DistinctUsers {
            original: model.users.decode(&ids)?,
            ids,
            table: held.select(&rows),
            rows_without_user_id,
        })
    }
}

/// A problem if `split` is not a split of the dataset.
pub(crate) fn unknown_split(split: Option<&str>, splits: &[String], key: &str) -> Option<Problem> {
    let split = split.filter(|split| !splits.iter().any(|name| name == split))?;
    let known: Vec<&str> = splits.iter().map(String::as_str).collect();
    let help = towline_api::suggest::sentence(split, &known, "splits");
    Some(
        Problem::new(Code::BadInput, format!("there is no split `{split}`"))
            .at(key)
            .help(help),
    )
}
