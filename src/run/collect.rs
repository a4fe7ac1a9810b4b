//! The rows of a dataset in memory.

use arrow::array::RecordBatch;
use tokio::runtime::Handle;
use towline_api::{LazyDataset, OperatorError};

use crate::run::execute::table::conform;
use crate::run::failure::Failure;

/// The rows of a dataset, by split, under its declared schema.
pub(crate) fn collect(lazy: &LazyDataset, runtime: &Handle) -> Result<Vec<(String, Vec<RecordBatch>)>, Failure> {
    let schema = lazy.schema.to_arrow();
    let mut splits = Vec::new();
    for (name, table) in &lazy.splits {
        let frame = table.to_frame()?;
        let batches = runtime.block_on(frame.collect()).map_err(OperatorError::from)?;
        let batches: Result<Vec<_>, _> = batches.iter().map(|batch| conform(batch, &schema)).collect();
        splits.push((name.clone(), batches?));
    }
    Ok(splits)
}
