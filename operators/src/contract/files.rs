//! Datasets that are stored: one Parquet file per split.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

use super::error::{OperatorError, Result};
use super::schema::Schema;
use super::vocabulary::Vocabulary;

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

/// Writes a Parquet file whose bytes depend on nothing but the rows, whatever the batches they come in.
pub struct TableWriter {
    path: PathBuf,
    writer: ArrowWriter<File>,
    rows: u64,
}

impl TableWriter {
    /// Starts the file at `path`. Zstandard at level 1: a third of Snappy's size at about its speed on id columns.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Self> {
        Self::with_properties(path, schema, properties(path)?.build())
    }

    /// The same with row groups of this many rows, of which the writer holds one in memory.
    pub fn with_row_groups(path: &Path, schema: SchemaRef, rows: usize) -> Result<Self> {
        let properties = properties(path)?.set_max_row_group_row_count(Some(rows)).build();
        Self::with_properties(path, schema, properties)
    }

    /// Starts the file at `path` with properties of the caller's.
    pub fn with_properties(path: &Path, schema: SchemaRef, properties: WriterProperties) -> Result<Self> {
        let file = File::create(path).map_err(OperatorError::io(path))?;
        let writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(OperatorError::parquet(path))?;
        Ok(TableWriter {
            path: path.to_owned(),
            writer,
            rows: 0,
        })
    }

    /// Appends rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(OperatorError::parquet(&self.path))
    }

    /// Writes the footer and makes the bytes durable.
    pub fn finish(self) -> Result<TableFile> {
        let file = self.writer.into_inner().map_err(OperatorError::parquet(&self.path))?;
        file.sync_all().map_err(OperatorError::io(&self.path))?;
        Ok(TableFile {
            path: self.path,
            rows: self.rows,
        })
    }
}

fn properties(path: &Path) -> Result<WriterPropertiesBuilder> {
    let level = ZstdLevel::try_new(1).map_err(OperatorError::parquet(path))?;
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by("towline".to_owned()))
}
