//! Fits: siblings that learn from the same rows share one scan; and what a fit learnt, applied.

use std::ops::Range;
use std::path::Path;

use towline_api::{FitContext, Fitter, Inputs, LazyDataset, LazyTable, OperatorError, State, Stateful};

use crate::run::execute::{ExecContext, Produced};
use crate::run::failure::Failure;

/// What a stateful operator is to learn from.
#[derive(Clone)]
pub(in crate::run) struct FitRequest {
    /// The rows.
    pub(in crate::run) lazy: LazyDataset,
    /// Everything that is connected.
    pub(in crate::run) inputs: Inputs<LazyDataset>,
}

/// A fit that sees rows.
pub(in crate::run) struct PendingFit {
    fitter: Box<dyn Fitter>,
    /// Its columns of the scan.
    columns: Range<usize>,
    failure: Option<OperatorError>,
}

impl PendingFit {
    /// What was learnt, in files of the folder.
    pub(in crate::run) fn finish(self, folder: &Path) -> Result<Produced, Failure> {
        if let Some(error) = self.failure {
            return Err(error.into());
        }
        let output = self.fitter.finish(folder)?;
        Ok(Produced::State {
            tables: output.tables,
            facts: output.facts,
        })
    }
}

/// One scan over the columns that several fits learn from.
#[derive(Default)]
pub(in crate::run) struct SharedScan {
    table: Option<LazyTable>,
}

impl SharedScan {
    /// A new fit that takes part in the scan. `temp` is a folder of its own.
    pub(in crate::run) fn new_fit(
        &mut self,
        stateful: &dyn Stateful,
        request: &FitRequest,
        temp: &Path,
        threads: usize,
    ) -> Result<PendingFit, Failure> {
        let lazy = &request.lazy;
        let split = stateful.fit_on();
        let Some(table) = lazy.split(split) else {
            return Err(OperatorError::invalid(format!("there is no split `{split}` to fit on")).into());
        };
        let scan = self.table.get_or_insert_with(|| LazyTable {
            base: table.base.clone(),
            columns: Vec::new(),
        });
        let start = scan.columns.len();
        for name in &stateful.fit_columns(&lazy.schema) {
            let Some(column) = table.columns.iter().find(|column| column.name == *name) else {
                return Err(OperatorError::invalid(format!("there is no column `{name}` to fit on")).into());
            };
            let mut column = column.clone();
            column.name = format!("{}", scan.columns.len());
            scan.columns.push(column);
        }
        let context = FitContext {
            inputs: &request.inputs,
            temp,
            threads,
        };
        Ok(PendingFit {
            fitter: stateful.fitter(&lazy.schema, &context)?,
            columns: start..scan.columns.len(),
            failure: None,
        })
    }

    /// Shows every row of the split to the fits. One that fails sees no more, and the others go on.
    pub(in crate::run) fn run(&self, mut fits: Vec<&mut PendingFit>, context: &ExecContext<'_>) -> Result<(), Failure> {
        let Some(table) = &self.table else {
            return Ok(());
        };
        context.batches(table, |batch| {
            for fit in fits.iter_mut().filter(|fit| fit.failure.is_none()) {
                let own: Vec<usize> = fit.columns.clone().collect();
                let part = batch.project(&own).map_err(OperatorError::from)?;
                fit.failure = fit.fitter.update(&part).err();
            }
            Ok(())
        })
    }
}

/// The splits of a stateful operator: what its fit learnt, applied to those of its input.
pub(in crate::run) fn apply(
    stateful: &dyn Stateful,
    state: &State,
    input: &LazyDataset,
) -> Result<Vec<(String, LazyTable)>, OperatorError> {
    let mut splits = Vec::new();
    for (name, table) in &input.splits {
        let columns = stateful.project(state, &input.schema, name, &table.columns)?;
        let base = table.base.clone();
        splits.push((name.clone(), LazyTable { base, columns }));
    }
    Ok(splits)
}
