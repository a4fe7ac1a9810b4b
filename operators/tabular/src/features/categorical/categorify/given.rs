//! Given vocabularies: read from a file, or taken from another node.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::DataType;
use hashbrown::HashSet;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::features::categorical::categorify::keys::{Keys, Values};
use crate::features::categorical::categorify::rank::VocabularyLimits;
use towline_api::{OOV_ID, OperatorError, Result, Vocabulary};

/// A given vocabulary as read.
#[derive(Debug)]
pub(crate) struct VocabularyFile {
    /// The values, in order of their ids.
    values: ArrayRef,
    /// The id of the first value, if the file states it.
    first_id: Option<i64>,
    /// The path, if the file is a Towline vocabulary with counts.
    pub(crate) own: Option<PathBuf>,
    /// Description of the origin, for messages.
    place: String,
}

impl VocabularyFile {
    /// The vocabulary of another node's column.
    pub(crate) fn in_node(vocabulary: &Vocabulary, column: &str) -> Result<Self> {
        let table = vocabulary.load()?;
        let reserved = (table.first_value_id() - 1) as usize;
        let values = table.values();
        Ok(VocabularyFile {
            values: values.slice(reserved, values.len() - reserved),
            first_id: Some(table.first_value_id()),
            own: Some(vocabulary.path().to_owned()),
            place: format!("the vocabulary of `{column}`"),
        })
    }

    /// Reads a vocabulary file: Towline's, NVTabular's (`unique.<column>.parquet`), or any Parquet or CSV file with a
    /// column `value` or a single column.
    pub(crate) fn in_file(path: &Path, column: &str) -> Result<Self> {
        let place = path.display().to_string();
        let csv = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        if csv {
            let values = csv_values(path)?;
            return Ok(VocabularyFile {
                values,
                first_id: None,
                own: None,
                place,
            });
        }
        let file = File::open(path).map_err(OperatorError::io(path))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(OperatorError::parquet(path))?;
        let names: Vec<String> = builder
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        if ["id", "value", "count"]
            .iter()
            .all(|name| names.iter().any(|n| n == name))
        {
            return Ok(VocabularyFile {
                place,
                ..VocabularyFile::in_node(&Vocabulary::at(path), column)?
            });
        }
        let metadata = builder.metadata().file_metadata().key_value_metadata();
        let pandas = metadata.into_iter().flatten().find(|entry| entry.key == "pandas");
        // A pandas frame's own index starts at 0, which is the padding id.
        let first_id = pandas
            .and_then(|entry| range_start(entry.value.as_deref()?))
            .filter(|start| *start > OOV_ID);
        let wanted = [column, "value"]
            .into_iter()
            .find(|name| names.iter().any(|n| n == name));
        let index = match (wanted, names.as_slice()) {
            (Some(name), _) => names.iter().position(|n| n == name),
            (None, [_]) => Some(0),
            (None, _) => None,
        };
        let Some(index) = index else {
            let message = format!(
                "{place}: no column `{column}` or `value`; there are {}",
                names.join(", ")
            );
            return Err(OperatorError::invalid(message));
        };
        let data_type = builder.schema().field(index).data_type().clone();
        let reader = builder.build().map_err(OperatorError::parquet(path))?;
        let parts = reader
            .map(|batch| Ok(batch?.column(index).clone()))
            .collect::<Result<Vec<ArrayRef>>>()?;
        Ok(VocabularyFile {
            values: join(&parts, &data_type)?,
            first_id,
            own: None,
            place,
        })
    }

    /// The values as keys. Fails on a type mismatch, duplicates, nulls, or a different first id.
    pub(crate) fn keys(&self, values: &Values, limits: VocabularyLimits) -> Result<Keys> {
        let first = limits.first_value_id();
        if let Some(found) = self.first_id.filter(|found| *found != first) {
            let (has, wants) = (found - OOV_ID, limits.oov_buckets);
            let message = format!(
                "{}: its ids start at {found}, after {has} out-of-vocabulary buckets, but `oov_buckets` is {wants}: set it to {has}",
                self.place
            );
            return Err(OperatorError::invalid(message));
        }
        let wanted = values.data_type();
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let cast = cast_with_options(&self.values, &wanted, &options).map_err(|error| {
            let found = self.values.data_type();
            OperatorError::invalid(format!(
                "{}: it holds {found}, which cannot be cast to the column's type {wanted}: {error}",
                self.place
            ))
        })?;
        let parts = match (values, cast.data_type()) {
            (Values::Tuple { .. }, DataType::Struct(_)) => arrow::array::AsArray::as_struct(&cast).columns().to_vec(),
            _ => vec![cast],
        };
        let keys = values.keys(&parts)?;
        self.refuse_repeated(&keys)?;
        Ok(keys)
    }

    fn refuse_repeated(&self, keys: &Keys) -> Result<()> {
        let (nulls, distinct, all) = match keys {
            Keys::Numbers(k) => (k.null_count(), k.values().iter().collect::<HashSet<_>>().len(), k.len()),
            Keys::Bytes(k) => (k.null_count(), k.iter().collect::<HashSet<_>>().len(), k.len()),
        };
        if nulls > 0 {
            return Err(OperatorError::invalid(format!("{}: a value is missing", self.place)));
        }
        if distinct < all {
            return Err(OperatorError::invalid(format!("{}: a value occurs twice", self.place)));
        }
        Ok(())
    }
}

fn join(parts: &[ArrayRef], data_type: &DataType) -> Result<ArrayRef> {
    if parts.is_empty() {
        return Ok(arrow::array::new_empty_array(data_type));
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(concat(&parts)?)
}

/// Start of a pandas frame's index, if the index is a range.
fn range_start(pandas: &str) -> Option<i64> {
    let metadata: serde_json::Value = serde_json::from_str(pandas).ok()?;
    let index = metadata.get("index_columns")?.get(0)?;
    if index.get("kind")?.as_str()? == "range" {
        index.get("start")?.as_i64()
    } else {
        None
    }
}

fn csv_values(path: &Path) -> Result<ArrayRef> {
    let file = File::open(path).map_err(OperatorError::io(path))?;
    let format = arrow::csv::reader::Format::default().with_header(true);
    let (guess, _) = format.infer_schema(file, Some(1))?;
    let names: Vec<&str> = guess.fields().iter().map(|field| field.name().as_str()).collect();
    let index = names
        .iter()
        .position(|name| *name == "value")
        .or_else(|| (names.len() == 1).then_some(0));
    let Some(index) = index else {
        let message = format!("{}: no column `value`; there are {}", path.display(), names.join(", "));
        return Err(OperatorError::invalid(message));
    };
    let text = guess
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_data_type(DataType::Utf8));
    let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(text.collect::<Vec<_>>()));
    let file = File::open(path).map_err(OperatorError::io(path))?;
    let reader = arrow::csv::ReaderBuilder::new(schema).with_format(format).build(file)?;
    let parts = reader
        .map(|batch| Ok(batch?.column(index).clone()))
        .collect::<Result<Vec<ArrayRef>>>()?;
    join(&parts, &DataType::Utf8)
}
