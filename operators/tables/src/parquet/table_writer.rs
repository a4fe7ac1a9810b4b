//! Writer of stored tables.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{DEFAULT_MAX_ROW_GROUP_ROW_COUNT, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::parquet::column_encoders::Encoders;
use crate::parquet::number_column::{MOST_IN_DICTIONARY, NumberFormat};
use towline_api::{BATCH_ROWS, Column, OperatorError, Result, Schema, TableFile};

/// Writes a Parquet file whose bytes depend on the rows alone, not on their batches or the number of processors. Large
/// tables are encoded on all processors.
pub struct TableWriter {
    path: PathBuf,
    file: SerializedFileWriter<File>,
    writers: ArrowRowGroupWriterFactory,
    encoders: Encoders,
    /// Rows not yet encoded: fewer than one encoder batch.
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    group: Group,
    rows: u64,
}

/// The current row group.
struct Group {
    begun: bool,
    rows: usize,
    most: usize,
    /// Index of the group in the file.
    index: usize,
}

impl TableWriter {
    /// Creates the file at `path`. Compression is Zstandard level 1: a third of Snappy's size at about its speed on id
    /// columns.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Self> {
        Self::with_properties(path, schema, properties(path)?.build())
    }

    /// Creates a file with row groups of `rows` rows; the writer keeps one group in memory.
    pub fn with_row_groups(path: &Path, schema: SchemaRef, rows: usize) -> Result<Self> {
        let properties = properties(path)?.set_max_row_group_row_count(Some(rows)).build();
        Self::with_properties(path, schema, properties)
    }

    /// Creates a file for a schema with domains: id columns whose cardinality exceeds the dictionary limit are
    /// delta-encoded from the start.
    pub fn of_schema(path: &Path, schema: &Schema) -> Result<Self> {
        let mut properties = properties(path)?;
        let many = |column: &&Column| {
            let ids = column.domain.as_ref().and_then(|domain| domain.size);
            column.data_type == DataType::Int64 && ids.is_some_and(|ids| ids > MOST_IN_DICTIONARY as u64)
        };
        for column in schema.columns.iter().filter(many) {
            let place = ColumnPath::new(vec![column.name.clone()]);
            properties = properties
                .set_column_dictionary_enabled(place.clone(), false)
                .set_column_encoding(place, Encoding::DELTA_BINARY_PACKED);
        }
        Self::with_properties(path, schema.to_arrow(), properties.build())
    }

    /// Creates a file with the given writer properties; row groups are limited by rows only.
    pub fn with_properties(path: &Path, schema: SchemaRef, properties: WriterProperties) -> Result<Self> {
        let most = properties.max_row_group_row_count();
        let file = File::create(path).map_err(OperatorError::io(path))?;
        let (file, writers) = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(OperatorError::parquet(path))?;
        let encoders = Encoders::new(&schema, formats(&schema, &file));
        Ok(TableWriter {
            path: path.to_owned(),
            file,
            writers,
            encoders,
            waiting: Vec::new(),
            waiting_rows: 0,
            group: Group {
                begun: false,
                rows: 0,
                most: most.unwrap_or(DEFAULT_MAX_ROW_GROUP_ROW_COUNT).max(1),
                index: 0,
            },
            rows: 0,
        })
    }

    /// Appends rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let mut rest = batch.clone();
        while rest.num_rows() > 0 {
            // Encoders must receive the same arrays for any batch sizes, because page boundaries depend on them.
            let room = BATCH_ROWS.min(self.group.most - self.group.rows) - self.waiting_rows;
            let taken = room.min(rest.num_rows());
            self.waiting.push(rest.slice(0, taken));
            self.waiting_rows += taken;
            rest = rest.slice(taken, rest.num_rows() - taken);
            if taken == room {
                self.encode()?;
            }
            if self.group.rows == self.group.most {
                self.end_group()?;
            }
        }
        Ok(())
    }

    /// Writes the footer and makes the bytes durable.
    pub fn finish(mut self) -> Result<TableFile> {
        self.encode()?;
        self.end_group()?;
        let file = self.file.into_inner().map_err(OperatorError::parquet(&self.path))?;
        file.sync_all().map_err(OperatorError::io(&self.path))?;
        Ok(TableFile {
            path: self.path,
            rows: self.rows,
        })
    }

    /// Passes the buffered rows to the encoders.
    fn encode(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let parts = std::mem::take(&mut self.waiting);
        self.group.rows += std::mem::take(&mut self.waiting_rows);
        let columns = match parts.as_slice() {
            [whole] => whole.columns().to_vec(),
            parts => joined(parts)?,
        };
        if !self.group.begun {
            let writers = self.writers.create_column_writers(self.group.index);
            writers
                .and_then(|writers| self.encoders.begin(writers))
                .map_err(OperatorError::parquet(&self.path))?;
            self.group.begun = true;
        }
        self.encoders.push(&columns).map_err(OperatorError::parquet(&self.path))
    }

    fn end_group(&mut self) -> Result<()> {
        if !self.group.begun {
            return Ok(());
        }
        let TableWriter { file, encoders, .. } = self;
        let mut append = || {
            let mut group = file.next_row_group()?;
            encoders.end(&mut group)?;
            group.close()
        };
        append().map_err(OperatorError::parquet(&self.path))?;
        self.group.begun = false;
        self.group.rows = 0;
        self.group.index += 1;
        Ok(())
    }
}

/// Encoding formats of the integer columns.
fn formats(schema: &SchemaRef, file: &SerializedFileWriter<File>) -> Vec<Option<NumberFormat>> {
    let columns = file.schema_descr();
    // A nested field has several leaf columns; the first one belongs to its root.
    let first = |root: usize| (0..columns.num_columns()).find(|column| columns.get_column_root_idx(*column) == root);
    let format = |(root, field): (usize, &FieldRef)| {
        NumberFormat::of(columns.column(first(root)?), field.data_type(), file.properties())
    };
    schema.fields().iter().enumerate().map(format).collect()
}

/// Concatenates the columns of several batches.
fn joined(parts: &[RecordBatch]) -> Result<Vec<ArrayRef>> {
    let columns = parts.first().map_or(0, RecordBatch::num_columns);
    let column = |index: usize| {
        let arrays: Vec<&dyn Array> = parts.iter().map(|part| part.column(index).as_ref()).collect();
        Ok(concat(&arrays)?)
    };
    (0..columns).map(column).collect()
}

fn properties(path: &Path) -> Result<WriterPropertiesBuilder> {
    let level = ZstdLevel::try_new(1).map_err(OperatorError::parquet(path))?;
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by("towline".to_owned()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray, StringArray, StructArray};
    use arrow::datatypes::{Field, Int64Type, Schema as ArrowSchema};
    use tempfile::tempdir;

    use super::*;
    use crate::parquet::read_back::rows_of;

    fn rows(count: usize) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(
            (0..count as i64).map(|row| row * row % 9973),
        ));
        let text = (0..count).map(|row| (row % 7 > 0).then(|| format!("v{}", row % 1000)));
        let text: ArrayRef = Arc::new(text.collect::<StringArray>());
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
            (0..count as i64).map(|row| (row % 5 > 0).then(|| (0..row % 4).map(Some).collect::<Vec<_>>())),
        ));
        let fields = vec![
            Arc::new(Field::new("a", DataType::Int64, false)),
            Arc::new(Field::new("b", DataType::Utf8, true)),
        ];
        let pair: ArrayRef = Arc::new(StructArray::new(
            fields.into(),
            vec![Arc::clone(&numbers), Arc::clone(&text)],
            None,
        ));
        let columns = [("n", numbers), ("pair", pair), ("t", text), ("l", lists)];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    /// Writes `batch` repeatedly in slices of these sizes, and returns the file and the rows read back.
    fn written(batch: &RecordBatch, sizes: &[usize], group: usize) -> (Vec<u8>, Option<RecordBatch>) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let mut writer = TableWriter::with_row_groups(&path, batch.schema(), group).unwrap();
        let (mut row, mut sizes) = (0, sizes.iter().cycle());
        while row < batch.num_rows() {
            let size = (*sizes.next().unwrap()).min(batch.num_rows() - row);
            writer.write(&batch.slice(row, size)).unwrap();
            row += size;
        }
        let file = writer.finish().unwrap();
        assert_eq!(file.rows, batch.num_rows() as u64);
        (std::fs::read(&path).unwrap(), rows_of(&file))
    }

    #[test]
    fn bytes_depend_on_the_rows_alone_and_the_rows_come_back() {
        // More rows than one thread encodes alone, in groups that end within an encoder batch.
        let batch = rows(100_000);
        let (bytes, read) = written(&batch, &[100_000], 30_000);
        assert_eq!(read.unwrap().columns(), batch.columns());
        for sizes in [&[8192][..], &[1, 9000, 17, 20_000], &[30_000]] {
            assert!(written(&batch, sizes, 30_000).0 == bytes, "batches of {sizes:?}");
        }
    }

    #[test]
    fn ids_of_many_values_come_back() {
        let folder = tempdir().unwrap();
        let mut schema = Schema::default();
        for (name, size) in [("many", MOST_IN_DICTIONARY as u64 + 1), ("few", 10)] {
            let mut column = Column::new(name, DataType::Int64, false);
            column.domain = Some(towline_api::Domain {
                size: Some(size),
                ..towline_api::Domain::default()
            });
            schema.columns.push(column);
        }
        let ids = |step: i64, of: i64| Arc::new(Int64Array::from_iter_values((0..50_000).map(|row| row * step % of)));
        let batch = RecordBatch::try_new(schema.to_arrow(), vec![ids(7919, 140_000) as ArrayRef, ids(3, 10)]).unwrap();
        let mut writer = TableWriter::of_schema(&folder.path().join("ids.parquet"), &schema).unwrap();
        writer.write(&batch).unwrap();
        let read = rows_of(&writer.finish().unwrap()).unwrap();
        assert_eq!(read.columns(), batch.columns());
    }

    #[test]
    fn a_table_without_rows_is_a_file_that_can_be_read() {
        let (_, read) = written(&rows(0), &[1], 10);
        assert!(read.is_none());
    }

    #[test]
    fn what_cannot_be_encoded_is_an_error_on_every_call_after_it() {
        let folder = tempdir().unwrap();
        let schema = Arc::new(ArrowSchema::new(vec![
            Field::new("n", DataType::Int64, false),
            Field::new("m", DataType::Int64, false),
        ]));
        let mut writer = TableWriter::create(&folder.path().join("rows.parquet"), schema).unwrap();
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a"; BATCH_ROWS]));
        let wrong = RecordBatch::try_from_iter([("n", Arc::clone(&text)), ("m", text)]).unwrap();
        let failed = (0..10).find_map(|_| writer.write(&wrong).err());
        assert!(failed.is_some());
        assert!(writer.finish().is_err());
    }
}
