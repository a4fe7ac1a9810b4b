//! Encodes integer columns of Parquet files faster than the generic encoder.
//!
//! A page is dictionary-encoded while the dictionary is small, and delta-encoded after that, which is compact for user
//! ids and timestamps.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBufferBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, UInt32Type, UInt64Type,
};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, SortOrder, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use towline_kernels::{IntegerDictionary, bits, pack_differences, pack_flags, pack_run, pack_runs, widened};
use zstd::bulk::Compressor;

/// Rows per page.
const PAGE_ROWS: usize = 1 << 15;
/// Maximum number of dictionary entries.
pub(crate) const MOST_IN_DICTIONARY: usize = 1 << 17;

/// Properties of a column that all row groups share.
#[derive(Debug, Clone)]
pub(crate) struct NumberFormat {
    column: ColumnDescPtr,
    level: ZstdLevel,
    dictionary: bool,
}

impl NumberFormat {
    /// The format for a column of this type, if it is an integer column that this module encodes.
    pub(crate) fn of(column: ColumnDescPtr, data_type: &DataType, properties: &WriterProperties) -> Option<Self> {
        let known = matches!(
            data_type,
            DataType::Int32
                | DataType::Int64
                | DataType::UInt32
                | DataType::UInt64
                | DataType::Date32
                | DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
        );
        let flat = column.max_rep_level() == 0 && column.max_def_level() <= 1;
        let Compression::ZSTD(level) = properties.compression(column.path()) else {
            return None;
        };
        let plain = properties.bloom_filter_properties(column.path()).is_none();
        (known && flat && plain).then(|| NumberFormat {
            level,
            dictionary: properties.dictionary_enabled(column.path()),
            column,
        })
    }
}

/// The encoder of a column in one row group.
pub(crate) struct NumberColumn {
    format: NumberFormat,
    compressor: Compressor<'static>,
    dictionary: IntegerDictionary,
    /// Size of the dictionary when the last page was written.
    settled: usize,
    /// The current page: validity, and the values or their dictionary indexes.
    present: BooleanBufferBuilder,
    places: Vec<u32>,
    values: Vec<i64>,
    by_place: bool,
    pages: Vec<CompressedPage>,
    rows: Vec<usize>,
    nulls: u64,
    range: Option<(i64, i64)>,
}

/// A column chunk: metadata and encoded bytes.
pub(crate) struct NumberChunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

impl NumberColumn {
    pub(crate) fn new(format: &NumberFormat) -> Result<Self> {
        Ok(NumberColumn {
            compressor: Compressor::new(format.level.compression_level()).map_err(external)?,
            dictionary: IntegerDictionary::default(),
            settled: 0,
            present: BooleanBufferBuilder::new(PAGE_ROWS),
            places: Vec::with_capacity(PAGE_ROWS),
            values: Vec::new(),
            by_place: format.dictionary,
            pages: Vec::new(),
            rows: Vec::new(),
            nulls: 0,
            range: None,
            format: format.clone(),
        })
    }

    /// Appends rows.
    pub(crate) fn write(&mut self, array: &ArrayRef) -> Result<()> {
        let nulls = array.nulls();
        match array.data_type() {
            DataType::Int32 => self.numbers(&widened(array.as_primitive::<Int32Type>().values()), nulls),
            DataType::Date32 => self.numbers(&widened(array.as_primitive::<Date32Type>().values()), nulls),
            DataType::Int64 => self.numbers(array.as_primitive::<Int64Type>().values(), nulls),
            // Parquet stores unsigned integers by their bit pattern.
            DataType::UInt32 => {
                let values = array.as_primitive::<UInt32Type>().values();
                self.numbers(&widened(values.inner().typed_data()), nulls)
            }
            DataType::UInt64 => {
                let values = array.as_primitive::<UInt64Type>().values();
                self.numbers(values.inner().typed_data(), nulls)
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                self.numbers(array.as_primitive::<TimestampMillisecondType>().values(), nulls)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.numbers(array.as_primitive::<TimestampMicrosecondType>().values(), nulls)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                self.numbers(array.as_primitive::<TimestampNanosecondType>().values(), nulls)
            }
            other => Err(ParquetError::General(format!(
                "a column of integers cannot hold {other}"
            ))),
        }
    }

    fn numbers(&mut self, values: &[i64], nulls: Option<&NullBuffer>) -> Result<()> {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        if nulls.is_some() && self.format.column.max_def_level() == 0 {
            let message = format!(
                "the column `{}` is not nullable but has a null",
                self.format.column.name()
            );
            return Err(ParquetError::General(message));
        }
        let mut from = 0;
        while from < values.len() {
            let count = (values.len() - from).min(PAGE_ROWS - self.present.len());
            let part = &values[from..from + count];
            match nulls.map(|nulls| nulls.slice(from, count)) {
                Some(nulls) => {
                    let there: Vec<i64> = nulls.valid_indices().map(|row| part[row]).collect();
                    self.present.append_buffer(nulls.inner());
                    self.add(&there);
                }
                None => {
                    self.present.append_n(count, true);
                    self.add(part);
                }
            }
            if self.present.len() == PAGE_ROWS {
                self.end_page()?;
            }
            from += count;
        }
        Ok(())
    }

    fn add(&mut self, values: &[i64]) {
        if self.by_place {
            self.dictionary.add(values, &mut self.places);
        } else {
            self.values.extend_from_slice(values);
        }
    }

    fn end_page(&mut self) -> Result<()> {
        if self.present.is_empty() {
            return Ok(());
        }
        let keys = self.dictionary.keys();
        if self.by_place && gains_nothing(keys, self.settled, &self.places) {
            self.values
                .extend(self.places.drain(..).map(|place| keys[place as usize]));
            self.dictionary.truncate(self.settled);
            self.by_place = false;
        }
        let present = NullBuffer::new(self.present.finish());
        let mut body = Vec::with_capacity(2 * PAGE_ROWS);
        if self.format.column.max_def_level() > 0 {
            append_levels(&present, &mut body);
        }
        let encoding = if self.by_place {
            self.settled = self.dictionary.keys().len();
            let width = bits(self.settled.saturating_sub(1) as u64);
            body.push(width as u8);
            pack_runs(&self.places, width, &mut body);
            self.places.clear();
            Encoding::RLE_DICTIONARY
        } else {
            let (least, most) = (self.values.iter().min(), self.values.iter().max());
            self.range = wider(self.range, least.copied().zip(most.copied()));
            let narrow = self.format.column.physical_type() == Type::INT32;
            pack_differences(&self.values, narrow, &mut body);
            self.values.clear();
            Encoding::DELTA_BINARY_PACKED
        };
        let page = Page::DataPage {
            buf: self.compressed(&body)?,
            num_values: present.len() as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.pages.push(CompressedPage::new(page, body.len()));
        self.rows.push(present.len());
        self.nulls += present.null_count() as u64;
        Ok(())
    }

    fn compressed(&mut self, body: &[u8]) -> Result<Bytes> {
        Ok(self.compressor.compress(body).map_err(external)?.into())
    }

    /// The dictionary page, if a data page uses it.
    fn dictionary_page(&mut self) -> Result<Option<CompressedPage>> {
        let keys = self.dictionary.keys().to_vec();
        if !self
            .pages
            .iter()
            .any(|page| page.encoding() == Encoding::RLE_DICTIONARY)
        {
            return Ok(None);
        }
        self.range = wider(self.range, keys.iter().min().copied().zip(keys.iter().max().copied()));
        let body: Vec<u8> = if self.format.column.physical_type() == Type::INT32 {
            keys.iter().flat_map(|key| (*key as i32).to_le_bytes()).collect()
        } else {
            keys.iter().flat_map(|key| key.to_le_bytes()).collect()
        };
        let page = Page::DictionaryPage {
            buf: self.compressed(&body)?,
            num_values: keys.len() as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        Ok(Some(CompressedPage::new(page, body.len())))
    }

    /// Finishes the column chunk.
    pub(crate) fn close(mut self) -> Result<NumberChunk> {
        self.end_page()?;
        let dictionary = self.dictionary_page()?;
        let mut sink = TrackedWrite::new(Vec::new());
        let mut writer = SerializedPageWriter::new(&mut sink);
        let (mut offsets, mut stats) = (OffsetIndexBuilder::new(), Vec::new());
        let mut chunk = ColumnChunkMetaData::builder(Arc::clone(&self.format.column));
        let mut uncompressed = 0;
        if let Some(page) = dictionary {
            let written = writer.write_page(page)?;
            uncompressed += written.uncompressed_size;
            chunk = chunk.set_dictionary_page_offset(Some(written.offset as i64));
            stats.push((PageType::DICTIONARY_PAGE, Encoding::PLAIN));
        }
        let mut first = None;
        for (page, rows) in self.pages.into_iter().zip(&self.rows) {
            stats.push((PageType::DATA_PAGE, page.encoding()));
            let written = writer.write_page(page)?;
            uncompressed += written.uncompressed_size;
            first.get_or_insert(written.offset as i64);
            offsets.append_row_count(*rows as i64);
            offsets.append_offset_and_size(written.offset as i64, written.compressed_size as i32);
        }
        writer.close()?;
        let bytes = sink.into_inner()?;
        let rows: usize = self.rows.iter().sum();
        let metadata = chunk
            .set_compression(Compression::ZSTD(self.format.level))
            .set_encodings(encodings(&stats))
            .set_page_encoding_stats(counted(&stats))
            .set_num_values(rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(uncompressed as i64)
            .set_data_page_offset(first.unwrap_or_default())
            .set_statistics(statistics(&self.format.column, self.range, self.nulls))
            .build()?;
        Ok(NumberChunk {
            close: ColumnCloseResult {
                bytes_written: bytes.len() as u64,
                rows_written: rows as u64,
                metadata,
                bloom_filter: None,
                column_index: None,
                offset_index: Some(offsets.build()),
            },
            bytes: bytes.into(),
        })
    }
}

/// Whether to abandon the dictionary for the current page: it is too large, or most values of the page are new to it
/// and their deltas take about as few bits as dictionary indexes.
fn gains_nothing(keys: &[i64], settled: usize, places: &[u32]) -> bool {
    if keys.len() > MOST_IN_DICTIONARY {
        return true;
    }
    if 2 * (keys.len() - settled) <= places.len() {
        return false;
    }
    let difference = |pair: &[u32]| keys[pair[1] as usize].wrapping_sub(keys[pair[0] as usize]);
    let (low, high) = places
        .windows(2)
        .map(difference)
        .fold((i64::MAX, i64::MIN), |(low, high), difference| {
            (low.min(difference), high.max(difference))
        });
    low > high || bits(high.abs_diff(low)) <= bits(keys.len() as u64) + u8::BITS
}

/// Appends the definition levels, preceded by their length in bytes.
fn append_levels(present: &NullBuffer, body: &mut Vec<u8>) {
    let mut levels = Vec::new();
    if present.null_count() == 0 {
        pack_run(1, present.len(), 1, &mut levels);
    } else {
        pack_flags(present.validity(), &mut levels);
    }
    body.extend_from_slice(&(levels.len() as u32).to_le_bytes());
    body.extend_from_slice(&levels);
}

/// The distinct encodings of the pages.
fn encodings(pages: &[(PageType, Encoding)]) -> Vec<Encoding> {
    let used = pages.iter().map(|(_, encoding)| *encoding);
    let mut all: Vec<Encoding> = std::iter::once(Encoding::RLE).chain(used).collect();
    all.sort_unstable_by_key(|encoding| *encoding as i32);
    all.dedup();
    all
}

/// Number of pages per page type and encoding.
fn counted(pages: &[(PageType, Encoding)]) -> Vec<PageEncodingStats> {
    let runs = pages.chunk_by(|a, b| a == b);
    let run = |run: &[(PageType, Encoding)]| PageEncodingStats {
        page_type: run[0].0,
        encoding: run[0].1,
        count: run.len() as i32,
    };
    runs.map(run).collect()
}

fn wider(range: Option<(i64, i64)>, more: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (range, more) {
        (Some((low, high)), Some((least, most))) => Some((low.min(least), high.max(most))),
        (range, more) => range.or(more),
    }
}

fn statistics(column: &ColumnDescPtr, range: Option<(i64, i64)>, nulls: u64) -> Statistics {
    // As signed integers, unsigned values with the high bit set would sort first instead of last.
    let unsigned = column.sort_order() == SortOrder::UNSIGNED;
    let (low, high) = range.filter(|(low, _)| !unsigned || *low >= 0).unzip();
    if column.physical_type() == Type::INT32 {
        let number = |value: i64| value as i32;
        Statistics::int32(low.map(number), high.map(number), None, Some(nulls), false)
    } else {
        Statistics::int64(low, high, None, Some(nulls), false)
    }
}

fn external(error: std::io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

#[cfg(test)]
#[path = "number_column_tests.rs"]
mod tests;
