//! Columns as integer codes in files, for operators that only compare values for equality.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Int64Type};
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;

use towline_api::{Cancel, DatasetFiles, NULL_ID, OperatorError, Result};
use towline_tables::spill::external_sort::SortedRuns;

/// Memory per hash map entry beside the value's bytes.
const ENTRY_BYTES: usize = 64;
/// Memory per (row, code) pair while pairs are sorted and written.
const PAIR_BYTES: usize = 48;
/// Bytes per code.
const NUMBER_BYTES: usize = size_of::<u32>();
/// The code of a missing value.
pub(crate) const MISSING: u32 = u32::MAX;

/// Assigns codes to values in order of first occurrence.
pub(crate) struct ValueCodes {
    converter: RowConverter,
    numbers: HashMap<Box<[u8]>, u32>,
    value_bytes: usize,
}

impl ValueCodes {
    pub(crate) fn of_type(data_type: &DataType) -> Result<Self> {
        Ok(ValueCodes {
            converter: RowConverter::new(vec![SortField::new(data_type.clone())])?,
            numbers: HashMap::new(),
            value_bytes: 0,
        })
    }

    /// The codes of the values; with `null_is_missing`, null is [`MISSING`].
    pub(crate) fn add(&mut self, array: &ArrayRef, null_is_missing: bool) -> Result<Vec<u32>> {
        let rows = self.converter.convert_columns(std::slice::from_ref(array))?;
        let mut out = Vec::with_capacity(array.len());
        for (place, row) in rows.iter().enumerate() {
            if null_is_missing && array.is_null(place) {
                out.push(MISSING);
                continue;
            }
            let row = row.as_ref();
            if let Some(number) = self.numbers.get(row) {
                out.push(*number);
                continue;
            }
            let next = u32::try_from(self.numbers.len()).ok().filter(|next| *next != MISSING);
            let next = next.ok_or_else(|| OperatorError::invalid("there are more than 2^32 different values"))?;
            self.value_bytes += row.len();
            self.numbers.insert(Box::from(row), next);
            out.push(next);
        }
        Ok(out)
    }

    /// Estimated memory use in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.value_bytes + self.numbers.len() * ENTRY_BYTES
    }
}

/// The codes of a column on disk: a 32-bit integer for each row of all splits.
pub(crate) struct CodedColumn {
    file: File,
    folder: PathBuf,
    pub(crate) rows: usize,
    /// Number of rows with a missing value.
    pub(crate) missing: usize,
    pub(crate) distinct: usize,
}

impl CodedColumn {
    /// Encodes the column `name`, with spill files in `folder` and at most `limit` bytes of memory. Null, and the id of
    /// null in an encoded column, is [`MISSING`].
    pub(crate) fn read(input: &DatasetFiles, name: &str, limit: usize, folder: &Path, cancel: &Cancel) -> Result<Self> {
        match Self::in_memory(input, name, limit, folder, cancel)? {
            Some(numbers) => Ok(numbers),
            None => Self::by_sorting(input, name, limit, folder, cancel),
        }
    }

    /// Encodes with a hash map of all values; `None` if it exceeds the limit.
    fn in_memory(
        input: &DatasetFiles,
        name: &str,
        limit: usize,
        folder: &Path,
        cancel: &Cancel,
    ) -> Result<Option<Self>> {
        let mut numbering = ValueCodes::of_type(data_type(input, name)?)?;
        let mut out = CodeWriter::in_folder(folder)?;
        for (_, table) in &input.splits {
            for batch in table.batches(Some(&[name]))? {
                cancel.check()?;
                for number in numbering.add(&with_nulls(input, name, batch?.column(0))?, true)? {
                    out.push(number)?;
                }
                if numbering.bytes() > limit {
                    return Ok(None);
                }
            }
        }
        out.finish(numbering.numbers.len()).map(Some)
    }

    /// Encodes by external sort: sorted by value, rows get codes; sorted by row again, they are the column.
    fn by_sorting(input: &DatasetFiles, name: &str, limit: usize, folder: &Path, cancel: &Cancel) -> Result<Self> {
        let converter = RowConverter::new(vec![SortField::new(data_type(input, name)?.clone())])?;
        let mut by_value = SortedRuns::in_folder(folder);
        let (mut entries, mut taken, mut row) = (Vec::new(), 0, 0_u64);
        for (_, table) in &input.splits {
            for batch in table.batches(Some(&[name]))? {
                cancel.check()?;
                let array = with_nulls(input, name, batch?.column(0))?;
                let values = converter.convert_columns(std::slice::from_ref(&array))?;
                for (place, value) in values.iter().enumerate() {
                    if array.is_valid(place) {
                        taken += ENTRY_BYTES + value.as_ref().len();
                        entries.push((Box::<[u8]>::from(value.as_ref()), row));
                    }
                    row += 1;
                }
                if taken > limit {
                    by_value.write(std::mem::take(&mut entries))?;
                    taken = 0;
                }
            }
        }
        by_value.write(entries)?;
        let mut by_row = SortedRuns::in_folder(folder);
        let (mut pairs, mut last, mut distinct) = (Vec::new(), None, 0_usize);
        for entry in by_value.merged()? {
            let (value, row) = entry?;
            if last.as_ref() != Some(&value) {
                distinct += 1;
                last = Some(value);
            }
            pairs.push((row as i64, distinct as u64 - 1));
            if pairs.len() * PAIR_BYTES > limit {
                cancel.check()?;
                by_row.write(std::mem::take(&mut pairs))?;
            }
        }
        by_row.write(pairs)?;
        if distinct >= MISSING as usize {
            return Err(OperatorError::invalid("there are more than 2^32 different values"));
        }
        let mut out = CodeWriter::in_folder(folder)?;
        by_row.totals(|place: i64, number| {
            out.pad(place as usize)?;
            out.push(number as u32)
        })?;
        out.pad(row as usize)?;
        out.finish(distinct)
    }

    /// Random access to the codes; they are held in memory if they fit into `limit` bytes.
    pub(crate) fn at_random(&mut self, limit: usize) -> Result<RandomAccessCodes> {
        if self.rows.saturating_mul(NUMBER_BYTES) > limit {
            let file = self.file.try_clone().map_err(OperatorError::io(&self.folder))?;
            return Ok(RandomAccessCodes::Disk(file, self.folder.clone()));
        }
        let mut reader = self.reader()?;
        let all = (0..self.rows).map(|_| reader.next());
        Ok(RandomAccessCodes::Memory(all.collect::<Result<_>>()?))
    }

    /// Reads the codes from the first row on.
    pub(crate) fn reader(&mut self) -> Result<CodeReader> {
        let fail = OperatorError::io(&self.folder);
        let file = self.file.rewind().and_then(|()| self.file.try_clone()).map_err(fail)?;
        Ok(CodeReader {
            file: BufReader::with_capacity(1 << 16, file),
            folder: self.folder.clone(),
        })
    }
}

/// Random access to the codes of a column.
pub(crate) enum RandomAccessCodes {
    Memory(Vec<u32>),
    Disk(File, PathBuf),
}

impl RandomAccessCodes {
    /// The code of a row.
    pub(crate) fn get(&self, row: usize) -> Result<u32> {
        match self {
            RandomAccessCodes::Memory(numbers) => numbers
                .get(row)
                .copied()
                .ok_or_else(|| OperatorError::internal(format!("there is no row {row}"))),
            RandomAccessCodes::Disk(file, folder) => {
                let mut bytes = [0; NUMBER_BYTES];
                file.read_exact_at(&mut bytes, (row * NUMBER_BYTES) as u64)
                    .map_err(|error| OperatorError::io(folder)(error))?;
                Ok(u32::from_le_bytes(bytes))
            }
        }
    }
}

/// Sequential reader of the codes of a column.
pub(crate) struct CodeReader {
    file: BufReader<File>,
    folder: PathBuf,
}

impl CodeReader {
    pub(crate) fn next(&mut self) -> Result<u32> {
        let mut bytes = [0; NUMBER_BYTES];
        self.file
            .read_exact(&mut bytes)
            .map_err(|error| OperatorError::io(&self.folder)(error))?;
        Ok(u32::from_le_bytes(bytes))
    }
}

/// Sequential writer of codes.
pub(crate) struct CodeWriter {
    file: BufWriter<File>,
    folder: PathBuf,
    rows: usize,
    missing: usize,
}

impl CodeWriter {
    pub(crate) fn in_folder(folder: &Path) -> Result<Self> {
        // An unnamed file is deleted with its handle, however the process ends.
        let file = tempfile::tempfile_in(folder).map_err(OperatorError::io(folder))?;
        Ok(CodeWriter {
            file: BufWriter::with_capacity(1 << 16, file),
            folder: folder.to_owned(),
            rows: 0,
            missing: 0,
        })
    }

    pub(crate) fn push(&mut self, number: u32) -> Result<()> {
        self.rows += 1;
        self.missing += usize::from(number == MISSING);
        self.file
            .write_all(&number.to_le_bytes())
            .map_err(|error| OperatorError::io(&self.folder)(error))
    }

    /// Writes [`MISSING`] for the rows before `row`.
    fn pad(&mut self, row: usize) -> Result<()> {
        while self.rows < row {
            self.push(MISSING)?;
        }
        Ok(())
    }

    /// Finishes the column, which has `distinct` different codes.
    pub(crate) fn finish(self, distinct: usize) -> Result<CodedColumn> {
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error);
        Ok(CodedColumn {
            file: file.map_err(OperatorError::io(&self.folder))?,
            folder: self.folder,
            rows: self.rows,
            missing: self.missing,
            distinct,
        })
    }
}

/// The column with the id of null replaced by null.
fn with_nulls(input: &DatasetFiles, name: &str, column: &ArrayRef) -> Result<ArrayRef> {
    let domain = input.schema.get(name).and_then(|column| column.domain.as_ref());
    let Some(ids) = column.as_primitive_opt::<Int64Type>() else {
        return Ok(Arc::clone(column));
    };
    if domain.is_none_or(|domain| domain.vocabulary.is_none()) {
        return Ok(Arc::clone(column));
    }
    let absent = eq(ids, &Int64Array::new_scalar(NULL_ID))?;
    Ok(nullif(column, &absent)?)
}

fn data_type<'a>(input: &'a DatasetFiles, name: &str) -> Result<&'a DataType> {
    let column = input.schema.get(name);
    let column = column.ok_or_else(|| OperatorError::internal(format!("there is no column `{name}`")))?;
    Ok(&column.data_type)
}
