//! Columns: expressions on the columns of the same rows.

use towline_api::{Columns, LazyDataset, LazyTable, OperatorError};

use crate::run::execute::planned::unconnected;

/// The splits of an operator that changes columns: those of its first input.
pub(in crate::run) fn project(
    columns: &dyn Columns,
    inputs: &[&LazyDataset],
) -> Result<Vec<(String, LazyTable)>, OperatorError> {
    let first = inputs.first().ok_or_else(unconnected)?;
    let mut splits = Vec::new();
    for (name, table) in &first.splits {
        let parts: Vec<&[_]> = inputs
            .iter()
            .filter_map(|input| input.split(name))
            .map(|table| table.columns.as_slice())
            .collect();
        let columns = columns.project(&parts)?;
        let base = table.base.clone();
        splits.push((name.clone(), LazyTable { base, columns }));
    }
    Ok(splits)
}
