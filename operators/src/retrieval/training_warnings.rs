//! What a person should know of training data though nothing is wrong with it.

use std::collections::HashMap;

use super::columns::EncodedTable;
use crate::contract::{ModelType, Result};

/// Columns that say nothing, and ids that are seen too rarely to be learnt.
pub(crate) fn of(train: &EncodedTable, model: &ModelType) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for column in model.query.columns.iter().chain(&model.item.columns) {
        let cells = train.cells(&column.name)?;
        if (1..train.rows).all(|row| cells.same(row, cells, 0)) {
            warnings.push(format!(
                "`{}` is the same in every row: it tells nothing apart",
                column.name
            ));
        }
    }
    for id in [&model.user_id, &model.item_id] {
        let mut counts: HashMap<i64, u64> = HashMap::new();
        train
            .single(id)?
            .iter()
            .for_each(|id| *counts.entry(*id).or_default() += 1);
        let once = counts.values().filter(|count| **count == 1).count();
        if once > 0 {
            warnings.push(format!("{once} of the {} ids of `{id}` are seen once", counts.len()));
        }
    }
    Ok(warnings)
}
