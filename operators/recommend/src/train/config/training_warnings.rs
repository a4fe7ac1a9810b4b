//! Warnings about training data: constant columns and rare ids.

use std::collections::HashMap;

use crate::data::feature_table::FeatureTable;
use crate::data::tower_columns::TowerColumns;
use towline_api::Result;

/// Constant columns, and ids with a single interaction.
pub(crate) struct Warnings {
    /// The columns, and whether each is the same in every row so far.
    columns: Vec<(String, bool)>,
    first: Option<FeatureTable>,
    /// The id columns, with how often each id was seen.
    ids: [(String, HashMap<i64, u64>); 2],
}

impl Warnings {
    /// About the columns of these sides.
    pub(crate) fn new(sides: &TowerColumns) -> Self {
        let columns = sides.query.iter().chain(&sides.item);
        let ids = [&sides.user_id, &sides.item_id];
        Warnings {
            columns: columns.map(|column| (column.name.clone(), true)).collect(),
            first: None,
            ids: ids.map(|id| (id.clone(), HashMap::new())),
        }
    }

    /// Looks at more rows.
    pub(crate) fn add(&mut self, rows: &FeatureTable) -> Result<()> {
        if rows.rows == 0 {
            return Ok(());
        }
        let first = self.first.get_or_insert_with(|| rows.select(&[0]));
        for (name, constant) in self.columns.iter_mut().filter(|(_, constant)| *constant) {
            let (cells, first) = (rows.cells(name)?, first.cells(name)?);
            *constant = (0..rows.rows).all(|row| cells.same(row, first, 0));
        }
        for (name, counts) in &mut self.ids {
            for id in rows.single(name)? {
                *counts.entry(*id).or_default() += 1;
            }
        }
        Ok(())
    }

    /// The warnings.
    pub(crate) fn texts(&self) -> Vec<String> {
        let constant = self.columns.iter().filter(|(_, constant)| *constant);
        let mut texts: Vec<String> = constant
            .map(|(name, _)| format!("column `{name}` is constant"))
            .collect();
        for (id, counts) in &self.ids {
            let once = counts.values().filter(|count| **count == 1).count();
            if once > 0 {
                texts.push(format!("{once} of the {} ids of `{id}` occur once", counts.len()));
            }
        }
        texts
    }
}
