//! Tables: new rows, planned lazily, and written to Parquet files.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use towline_api::{Form, Inputs, LazyDataset, LazyTable, OperatorError, Schema, TableContext, TableFile};
use towline_tables::TableWriter;

use crate::run::execute::planned::{planned, unconnected};
use crate::run::execute::{ExecContext, Produced};
use crate::run::failure::Failure;
use crate::typing::GraphNode;

/// The splits of an operator that makes new rows of its inputs.
pub(in crate::run) fn apply(
    node: &GraphNode,
    stored: bool,
    inputs: Inputs<LazyDataset>,
    schema: &Schema,
    tables: &TableContext,
) -> Vec<(String, LazyTable)> {
    let tables = tables.clone();
    planned(node, stored, schema, move |form| match form {
        Form::Table(table) => table.apply(&inputs, &tables),
        _ => Err(unconnected()),
    })
}

/// Computes a lazy dataset and writes a file for each split.
pub(in crate::run) fn write(lazy: &LazyDataset, context: &ExecContext<'_>) -> Result<Produced, Failure> {
    let mut splits = Vec::new();
    for (name, table) in &lazy.splits {
        let path = context.temp.join(format!("{}.parquet", splits.len()));
        splits.push((name.clone(), write_table(table, &lazy.schema, &path, context)?));
    }
    Ok(Produced::Dataset {
        schema: lazy.schema.clone(),
        splits,
        vocabularies: lazy.vocabularies.clone(),
    })
}

fn write_table(
    table: &LazyTable,
    schema: &Schema,
    path: &Path,
    context: &ExecContext<'_>,
) -> Result<TableFile, Failure> {
    let arrow_schema = schema.to_arrow();
    let mut writer = TableWriter::of_schema(path, schema)?;
    context.batches(table, |batch| Ok(writer.write(&conform(batch, &arrow_schema)?)?))?;
    Ok(writer.finish()?)
}

/// The batch under the declared schema: the same columns, their types cast where a plan chose another encoding.
pub(in crate::run) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, OperatorError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let column = batch.column_by_name(field.name()).ok_or_else(|| {
                OperatorError::invalid(format!("the plan did not produce the column `{}`", field.name()))
            })?;
            Ok(cast(column, field.data_type())?)
        })
        .collect::<Result<Vec<_>, OperatorError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
