//! Datasets that are stored: one Parquet file per split.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::{OperatorError, Result, Schema, Vocabulary};

/// Rows per batch wherever Towline reads or writes batches itself.
pub const BATCH_ROWS: usize = 8192;

/// A stored table.
#[derive(Debug, Clone)]
pub struct TableFile {
    /// The Parquet file.
    pub path: PathBuf,
    /// Its number of rows.
    pub rows: u64,
}

impl TableFile {
    /// How many rows the file says it has.
    pub fn counted_rows(&self) -> Result<u64> {
        let file = File::open(&self.path).map_err(OperatorError::io(&self.path))?;
        let reader = SerializedFileReader::new(file).map_err(OperatorError::parquet(&self.path))?;
        let rows = reader.metadata().file_metadata().num_rows();
        Ok(u64::try_from(rows).unwrap_or_default())
    }

    /// The batches of the named columns, in the order of the file and with the columns in the order of the file.
    /// `None` reads all columns.
    pub fn batches(&self, columns: Option<&[&str]>) -> Result<ParquetRecordBatchReader> {
        let file = File::open(&self.path).map_err(OperatorError::io(&self.path))?;
        let mut builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(OperatorError::parquet(&self.path))?;
        if let Some(columns) = columns {
            let roots = builder
                .schema()
                .fields()
                .iter()
                .enumerate()
                .filter(|(_, field)| columns.contains(&field.name().as_str()))
                .map(|(index, _)| index)
                .collect::<Vec<_>>();
            let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
            builder = builder.with_projection(mask);
        }
        builder
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(OperatorError::parquet(&self.path))
    }
}

/// A stored dataset.
#[derive(Debug, Clone)]
pub struct DatasetFiles {
    /// Columns with tags and domains.
    pub schema: Schema,
    /// The splits, in order.
    pub splits: Vec<(String, TableFile)>,
    /// The vocabularies that the domains of `schema` name, by content digest.
    pub vocabularies: BTreeMap<String, Vocabulary>,
}

impl DatasetFiles {
    /// The split of that name.
    pub fn split(&self, name: &str) -> Option<&TableFile> {
        self.splits
            .iter()
            .find(|(split, _)| split == name)
            .map(|(_, table)| table)
    }

    /// The vocabulary that decodes the column `name`, if it is encoded and its vocabulary is known.
    pub fn vocabulary_of(&self, name: &str) -> Option<&Vocabulary> {
        let digest = self.schema.get(name)?.domain.as_ref()?.vocabulary.as_ref()?;
        self.vocabularies.get(digest)
    }

    /// Rows of all splits together.
    pub fn rows(&self) -> u64 {
        self.splits.iter().map(|(_, table)| table.rows).sum()
    }
}
