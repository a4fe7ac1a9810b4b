//! What tests have written, as it is read again.

use arrow::array::RecordBatch;

use towline_api::TableFile;

/// All rows of a file; none if it has no rows.
pub(crate) fn rows_of(file: &TableFile) -> Option<RecordBatch> {
    let batches: Vec<RecordBatch> = file.batches(None).unwrap().map(Result::unwrap).collect();
    let schema = batches.first()?.schema();
    Some(arrow::compute::concat_batches(&schema, &batches).unwrap())
}
