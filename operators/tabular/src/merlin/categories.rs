//! NVTabular's vocabulary files: `unique.<column>.parquet` and `meta.<column>.parquet`.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use towline_api::{OOV_ID, Result, VocabularyTable};
use towline_tables::TableWriter;

/// Writes a vocabulary in NVTabular's format: values and counts from the first id on, with the first id as the start of
/// the frame's index in the footer.
pub(crate) fn write_unique(path: &Path, column: &str, table: &VocabularyTable) -> Result<()> {
    let reserved = (table.first_value_id() - 1) as usize;
    let values = table.values().slice(reserved, table.values().len() - reserved);
    let counts: Int64Array = table.counts()[table.first_value_id() as usize..]
        .iter()
        .map(|count| Some(*count as i64))
        .collect();
    let size = format!("{column}_size");
    let schema = Arc::new(ArrowSchema::new(vec![
        Field::new(column, values.data_type().clone(), true),
        Field::new(&size, DataType::Int64, true),
    ]));
    let index = json!({
        "kind": "range", "name": null, "start": table.first_value_id(), "stop": table.size(), "step": 1
    });
    let (pandas, numpy) = pandas_types(values.data_type());
    let described = [(column, pandas, numpy), (&size, "int64", "int64")];
    write(path, schema, vec![values, Arc::new(counts)], index, &described)
}

/// Writes NVTabular's metadata of the reserved ids.
pub(crate) fn write_meta(path: &Path, table: &VocabularyTable) -> Result<()> {
    let first = table.first_value_id();
    let counted =
        |ids: std::ops::Range<i64>| table.counts()[ids.start as usize..ids.end as usize].iter().sum::<u64>() as i64;
    let size = table.size() as i64;
    let spans = [0..1, 1..OOV_ID, OOV_ID..first, first..size];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["pad", "null", "oov", "unique"])),
        Arc::new(Int64Array::from_iter_values(spans.iter().map(|span| span.start))),
        Arc::new(Int64Array::from_iter_values(
            spans.iter().map(|span| span.end - span.start),
        )),
        Arc::new(Int64Array::from_iter_values(spans.into_iter().map(counted))),
    ];
    let names = ["kind", "offset", "num_indices", "num_observed"];
    let fields: Vec<Field> = names
        .iter()
        .zip(&columns)
        .map(|(n, c)| Field::new(*n, c.data_type().clone(), true))
        .collect();
    let index = json!({ "kind": "range", "name": null, "start": 0, "stop": 4, "step": 1 });
    let numbers = ["offset", "num_indices", "num_observed"].map(|name| (name, "int64", "int64"));
    let described = [&[("kind", "unicode", "object")], &numbers[..]].concat();
    write(path, Arc::new(ArrowSchema::new(fields)), columns, index, &described)
}

fn pandas_types(data_type: &DataType) -> (&'static str, &'static str) {
    match data_type {
        DataType::Int8 => ("int8", "int8"),
        DataType::Int16 => ("int16", "int16"),
        DataType::Int32 => ("int32", "int32"),
        DataType::Int64 => ("int64", "int64"),
        DataType::UInt8 => ("uint8", "uint8"),
        DataType::UInt16 => ("uint16", "uint16"),
        DataType::UInt32 => ("uint32", "uint32"),
        DataType::UInt64 => ("uint64", "uint64"),
        DataType::Float32 => ("float32", "float32"),
        DataType::Float64 => ("float64", "float64"),
        DataType::Boolean => ("bool", "bool"),
        DataType::Date32 | DataType::Date64 => ("date", "object"),
        DataType::Timestamp(..) => ("datetime", "datetime64[us]"),
        _ => ("unicode", "object"),
    }
}

fn write(
    path: &Path,
    schema: Arc<ArrowSchema>,
    columns: Vec<ArrayRef>,
    index: Value,
    described: &[(&str, &str, &str)],
) -> Result<()> {
    let columns_of = described.iter().map(|(name, pandas, numpy)| {
        json!({ "name": name, "field_name": name, "pandas_type": pandas, "numpy_type": numpy, "metadata": null })
    });
    let pandas = json!({
        "index_columns": [index],
        "column_indexes": [{
            "name": null, "field_name": null, "pandas_type": "unicode", "numpy_type": "object", "metadata": { "encoding": "UTF-8" }
        }],
        "columns": columns_of.collect::<Vec<_>>(),
        "creator": { "library": "pyarrow", "version": "16.0.0" },
        "pandas_version": "1.5.3"
    });
    let properties = WriterProperties::builder()
        .set_created_by("towline".to_owned())
        .set_key_value_metadata(Some(vec![KeyValue::new("pandas".to_owned(), pandas.to_string())]))
        .build();
    let mut writer = TableWriter::with_properties(path, Arc::clone(&schema), properties)?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    writer.finish()?;
    Ok(())
}
