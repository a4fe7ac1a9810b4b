//! Random access to rows, in memory or on disk.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_arrays, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};

use crate::rows::row_numbers::{CodeReader, CodedColumn};
use towline_api::{Cancel, OperatorError, Result, TableFile};

/// Columns of a table with random access to rows.
pub(crate) struct RandomRows {
    schema: SchemaRef,
    rows: Kept,
}

enum Kept {
    Memory(RecordBatch),
    /// Serialised rows, and the file offsets of their ends, preceded by 0.
    Disk {
        converter: RowConverter,
        bytes: File,
        ends: File,
        folder: PathBuf,
    },
}

/// The rows of a table to load, consumed batch by batch.
struct RowSelection {
    /// Remaining row numbers and the next one; `None` if all rows are loaded.
    rows: Option<(CodeReader, usize, u32)>,
    /// Number of rows in earlier batches.
    before: usize,
}

impl RowSelection {
    fn of(rows: Option<&mut CodedColumn>) -> Result<Self> {
        let Some(rows) = rows else {
            return Ok(RowSelection { rows: None, before: 0 });
        };
        let mut reader = rows.reader()?;
        let first = if rows.rows > 0 { reader.next()? } else { 0 };
        Ok(RowSelection {
            rows: Some((reader, rows.rows, first)),
            before: 0,
        })
    }

    fn out_of(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let Some((reader, left, next)) = &mut self.rows else {
            return Ok(batch);
        };
        let end = self.before + batch.num_rows();
        let mut places = Vec::new();
        while *left > 0 && (*next as usize) < end {
            places.push((*next as usize - self.before) as u32);
            *left -= 1;
            if *left > 0 {
                *next = reader.next()?;
            }
        }
        self.before = end;
        Ok(take_record_batch(&batch, &UInt32Array::from(places))?)
    }
}

impl RandomRows {
    /// Loads the columns of a table, or of some of its rows in ascending order, which are then numbered from 0. They
    /// are held in memory if they fit into `limit` bytes.
    pub(crate) fn read(
        table: &TableFile,
        columns: &[&str],
        mut rows: Option<&mut CodedColumn>,
        limit: usize,
        folder: &Path,
        cancel: &Cancel,
    ) -> Result<Self> {
        let (mut batches, mut taken) = (Vec::new(), 0);
        let reader = table.batches(Some(columns))?;
        let schema = arrow::array::RecordBatchReader::schema(&reader);
        let mut choice = RowSelection::of(rows.as_deref_mut())?;
        for batch in reader {
            cancel.check()?;
            let batch = choice.out_of(batch?)?;
            // The batches as read, and their concatenation.
            taken += 2 * batch.get_array_memory_size();
            if taken > limit {
                let choice = RowSelection::of(rows)?;
                return Self::on_disk(table, columns, schema, choice, folder, cancel);
            }
            batches.push(batch);
        }
        let rows = Kept::Memory(concat_batches(&schema, &batches)?);
        Ok(RandomRows { schema, rows })
    }

    fn on_disk(
        table: &TableFile,
        columns: &[&str],
        schema: SchemaRef,
        mut choice: RowSelection,
        folder: &Path,
        cancel: &Cancel,
    ) -> Result<Self> {
        let types = schema
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(types.collect())?;
        let fail = |error| OperatorError::io(folder)(error);
        let new = || tempfile::tempfile_in(folder).map(|file| BufWriter::with_capacity(1 << 16, file));
        let (mut bytes, mut ends) = (new().map_err(fail)?, new().map_err(fail)?);
        let mut end = 0_u64;
        ends.write_all(&end.to_le_bytes()).map_err(fail)?;
        for batch in table.batches(Some(columns))? {
            cancel.check()?;
            for row in &converter.convert_columns(choice.out_of(batch?)?.columns())? {
                end += row.as_ref().len() as u64;
                bytes
                    .write_all(row.as_ref())
                    .and_then(|()| ends.write_all(&end.to_le_bytes()))
                    .map_err(fail)?;
            }
        }
        let whole = |file: BufWriter<File>| file.into_inner().map_err(|error| fail(error.into_error()));
        let rows = Kept::Disk {
            converter,
            bytes: whole(bytes)?,
            ends: whole(ends)?,
            folder: folder.to_owned(),
        };
        Ok(RandomRows { schema, rows })
    }

    /// The index of a column in the result of [`RandomRows::get`].
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.schema.index_of(name).ok()
    }

    /// The columns of these rows, in the given order.
    pub(crate) fn get(&self, rows: &[u32]) -> Result<Vec<ArrayRef>> {
        match &self.rows {
            Kept::Memory(batch) => Ok(take_arrays(batch.columns(), &UInt32Array::from(rows.to_vec()), None)?),
            Kept::Disk {
                converter,
                bytes,
                ends,
                folder,
            } => {
                let found = rows.iter().map(|row| row_bytes(bytes, ends, u64::from(*row)));
                let found = found
                    .collect::<std::io::Result<Vec<_>>>()
                    .map_err(OperatorError::io(folder))?;
                let parser = converter.parser();
                Ok(converter.convert_rows(found.iter().map(|bytes| parser.parse(bytes)))?)
            }
        }
    }
}

fn row_bytes(bytes: &File, ends: &File, row: u64) -> std::io::Result<Vec<u8>> {
    let mut both = [[0; 8]; 2];
    ends.read_exact_at(both.as_flattened_mut(), row * 8)?;
    let [start, end] = both.map(u64::from_le_bytes);
    let mut found = vec![0; (end - start) as usize];
    bytes.read_exact_at(&mut found, start)?;
    Ok(found)
}
