//! Record batches in a temporary file.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;

use towline_api::{OperatorError, Result};

/// Buffer size of reads and writes.
const BUFFER: usize = 1 << 18;

/// Writes record batches to a temporary Arrow IPC file.
pub struct SpillWriter {
    folder: PathBuf,
    writer: FileWriter<BufWriter<File>>,
}

impl fmt::Debug for SpillWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpillWriter")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl SpillWriter {
    /// Creates an unnamed file in `folder`: it is deleted with its handle, however the process ends.
    pub fn create(folder: &Path, schema: &SchemaRef) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).map_err(OperatorError::io(folder))?;
        Ok(SpillWriter {
            folder: folder.to_owned(),
            writer: FileWriter::try_new(BufWriter::with_capacity(BUFFER, file), schema)?,
        })
    }

    /// Appends a batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Ok(self.writer.write(batch)?)
    }

    /// Flushes the file and opens it for reading.
    pub fn finish(self) -> Result<SpillFile> {
        let folder = self.folder;
        let mut file = self
            .writer
            .into_inner()?
            .into_inner()
            .map_err(|error| OperatorError::io(&folder)(error.into_error()))?;
        file.rewind().map_err(OperatorError::io(&folder))?;
        let reader = FileReader::try_new(BufReader::with_capacity(BUFFER, file), None)?;
        Ok(SpillFile { reader })
    }
}

/// Reads the batches of a temporary file, in order or by index.
pub struct SpillFile {
    reader: FileReader<BufReader<File>>,
}

impl fmt::Debug for SpillFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batches = self.reader.num_batches();
        f.debug_struct("SpillFile")
            .field("batches", &batches)
            .finish_non_exhaustive()
    }
}

impl SpillFile {
    /// The batch with this index, as it was written.
    pub fn batch(&mut self, index: usize) -> Result<RecordBatch> {
        self.reader.set_index(index)?;
        self.next_batch()?
            .ok_or_else(|| OperatorError::invalid(format!("a spill file has no batch {index}")))
    }

    /// The next batch, or `None` at the end.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        Ok(self.reader.next().transpose()?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn batches_come_back_in_order_and_by_index() {
        let folder = tempfile::tempdir().unwrap();
        let batch = |first: i64, texts: &[Option<&str>]| {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + texts.len() as i64));
            let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
            RecordBatch::try_from_iter_with_nullable([("n", numbers, false), ("t", texts, true)]).unwrap()
        };
        let batches = [
            batch(0, &[Some("a"), None]),
            batch(7, &[]),
            batch(2, &[Some(""), Some("bc"), Some("d")]),
        ];
        let mut writer = SpillWriter::create(folder.path(), &batches[0].schema()).unwrap();
        for batch in &batches {
            writer.write(batch).unwrap();
        }
        let mut file = writer.finish().unwrap();
        assert_eq!(file.next_batch().unwrap().as_ref(), Some(&batches[0]));
        for index in [2, 0, 1] {
            assert_eq!(file.batch(index).unwrap(), batches[index]);
        }
        assert_eq!(file.next_batch().unwrap().as_ref(), Some(&batches[2]));
        assert_eq!(file.next_batch().unwrap(), None);
        assert!(file.batch(3).is_err());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "the file has no name"
        );
    }
}
