//! Output of tasks that write rows.

use std::path::PathBuf;

use arrow::array::RecordBatch;

use towline_api::{Context, DatasetFiles, Output, Result, Schema, TableFile, TaskResult};
use towline_tables::TableWriter;

/// Writes a split: maps each input batch through `each`.
pub(crate) fn write_split(
    table: &TableFile,
    path: PathBuf,
    schema: &Schema,
    context: &Context,
    mut each: impl FnMut(RecordBatch) -> Result<RecordBatch>,
) -> Result<PathBuf> {
    context.progress.begin("rows", Some(table.rows));
    let mut writer = TableWriter::create(&path, schema.to_arrow())?;
    for batch in table.batches(None)? {
        context.cancel.check()?;
        let batch = batch?;
        context.progress.advance(batch.num_rows() as u64);
        writer.write(&each(batch)?)?;
    }
    writer.finish()?;
    Ok(path)
}

/// The output dataset of a task, with the vocabularies of its input.
pub(crate) fn dataset(schema: Schema, splits: Vec<(String, PathBuf)>, input: &DatasetFiles) -> Output {
    let named = |digest: &String| {
        let domains = schema.columns.iter().filter_map(|column| column.domain.as_ref());
        domains
            .into_iter()
            .any(|domain| domain.vocabulary.as_ref() == Some(digest))
    };
    let vocabularies = input
        .vocabularies
        .clone()
        .into_iter()
        .filter(|(digest, _)| named(digest))
        .collect();
    Output::new(TaskResult::Dataset {
        schema,
        splits,
        vocabularies,
    })
}
