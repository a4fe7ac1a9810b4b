//! `towline transform FILE` and `towline decode FILE`

use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema, SchemaRef};
use towline_api::{OperatorError, PADDING_ID, Registry, TableFile, VocabularyTable};
use towline_tables::TableWriter;

use crate::cli::{Exit, PipelineArguments, load};
use crate::run::{TransformError, Transformer};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// The node whose columns are wanted; it must only change columns of the rows that it descends from.
    #[arg(long, value_name = "NODE")]
    to: String,
    /// A Parquet file.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The Parquet file to write; an older one is replaced when the new one is whole.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Applies what the last run has learnt to new rows.
pub(super) fn transform(arguments: &Arguments, registry: &Registry) -> Exit {
    finish(opened(arguments, registry).map(|transformer| {
        transformer.and_then(|transformer| {
            let schema = transformer.output().to_arrow();
            let out = Rewrite {
                input: &arguments.input,
                output: &arguments.output,
            };
            out.write(schema, |batch| transformer.transform(batch))
        })
    }))
}

/// Turns the ids of a node's columns back into what they stand for.
pub(super) fn decode(arguments: &Arguments, registry: &Registry) -> Exit {
    finish(opened(arguments, registry).map(|transformer| {
        transformer.and_then(|transformer| {
            let table = TableFile {
                path: arguments.input.clone(),
                rows: 0,
            };
            let found = table.batches(None)?;
            let found = arrow::array::RecordBatchReader::schema(&found);
            let vocabulary = |name: &str| transformer.vocabulary_of(name).map(|v| Ok(v.load()?)).transpose();
            let tables = found.fields().iter().map(|field| vocabulary(field.name()));
            let tables = tables.collect::<Result<Vec<_>, TransformError>>()?;
            if tables.iter().all(Option::is_none) {
                let message = format!(
                    "no column of {} is one that `{}` encodes",
                    arguments.input.display(),
                    arguments.to
                );
                return Err(TransformError::Rows(message));
            }
            let fields = found.fields().iter().zip(&tables).map(|(field, table)| match table {
                Some(table) => Field::new(field.name(), decoded_type(field.data_type(), table), true),
                None => field.as_ref().clone(),
            });
            let schema: SchemaRef = ArrowSchema::new(fields.collect::<Vec<_>>()).into();
            let out = Rewrite {
                input: &arguments.input,
                output: &arguments.output,
            };
            let decoded = schema.clone();
            out.write(schema, |batch| {
                let columns = batch.columns().iter().zip(&tables).map(|(column, table)| match table {
                    Some(table) => decoded_column(column, table),
                    None => Ok(column.clone()),
                });
                let columns = columns.collect::<Result<Vec<_>, OperatorError>>()?;
                Ok(RecordBatch::try_new(decoded.clone(), columns).map_err(OperatorError::from)?)
            })
        })
    }))
}

fn opened(arguments: &Arguments, registry: &Registry) -> Result<Result<Transformer, TransformError>, Exit> {
    let graph = load::graph(&arguments.pipeline, registry)?;
    let store = load::store(&arguments.pipeline)?;
    Ok(Transformer::new(&graph, &store, &arguments.to))
}

fn finish(done: Result<Result<u64, TransformError>, Exit>) -> Exit {
    match done {
        Ok(Ok(rows)) => {
            println!("{rows} rows");
            Exit::Success
        }
        Ok(Err(error)) => {
            eprintln!("error: {error}");
            match error {
                TransformError::UnknownNode { .. } | TransformError::OwnRows(_) => Exit::Invalid,
                _ => Exit::Failed,
            }
        }
        Err(exit) => exit,
    }
}

/// One Parquet file made of another.
struct Rewrite<'a> {
    input: &'a Path,
    output: &'a Path,
}

impl Rewrite<'_> {
    /// Writes what `each` makes of the batches; returns the number of rows.
    fn write(
        &self,
        schema: SchemaRef,
        mut each: impl FnMut(&RecordBatch) -> Result<RecordBatch, TransformError>,
    ) -> Result<u64, TransformError> {
        let folder = self.output.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let unfinished = tempfile::NamedTempFile::new_in(folder)
            .map_err(OperatorError::io(folder))?
            .into_temp_path();
        let mut writer = TableWriter::create(&unfinished, schema)?;
        let table = TableFile {
            path: self.input.to_owned(),
            rows: 0,
        };
        for batch in table.batches(None)? {
            let batch = batch.map_err(OperatorError::from)?;
            writer.write(&each(&batch)?)?;
        }
        let rows = writer.finish()?.rows;
        let persisted = unfinished.persist(self.output);
        persisted.map_err(|error| OperatorError::io(self.output)(error.error))?;
        Ok(rows)
    }
}

fn decoded_type(encoded: &DataType, table: &VocabularyTable) -> DataType {
    let value = table.values().data_type().clone();
    match encoded {
        DataType::List(_) => DataType::List(Field::new_list_field(value, true).into()),
        _ => value,
    }
}

fn decoded_column(column: &ArrayRef, table: &VocabularyTable) -> Result<ArrayRef, OperatorError> {
    if let Some(list) = column.as_list_opt::<i32>() {
        let (_, offsets, ids, nulls) = list.clone().into_parts();
        let values = decoded_column(&ids, table)?;
        let field = Field::new_list_field(values.data_type().clone(), true).into();
        return Ok(std::sync::Arc::new(ListArray::try_new(field, offsets, values, nulls)?));
    }
    let ids = cast(column, &DataType::Int64)?;
    let ids: Vec<i64> = ids
        .as_primitive::<Int64Type>()
        .iter()
        .map(|id| id.unwrap_or(PADDING_ID))
        .collect();
    table.decode(&ids)
}
