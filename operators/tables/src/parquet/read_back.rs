//! Reads back the files that tests write.

use arrow::array::RecordBatch;

use towline_api::TableFile;

/// All rows of a file, `None` if it is empty.
pub(crate) fn rows_of(file: &TableFile) -> Option<RecordBatch> {
    let batches: Vec<RecordBatch> = file.batches(None).unwrap().map(Result::unwrap).collect();
    let schema = batches.first()?.schema();
    Some(arrow::compute::concat_batches(&schema, &batches).unwrap())
}
