//! Row encoder: turns the rows of a dataset into keys and documents.

use std::cell::Cell;
use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use xxhash_rust::xxh3::xxh3_128;

use crate::batch::chunk::{Chunk, digest};
use crate::batch::decode::Decoder;
use crate::batch::document_format::{DocumentFormat, RECOMMENDATIONS, SCORES};
use crate::batch::documents::Documents;
use crate::batch::field_values::ColumnValues;
use crate::batch::key_pattern::KeyPattern;
use crate::batch::spill::{CurrentKey, Spill};
use towline_api::{Column, Context, DatasetFiles, OperatorError, Result};

/// Counts of entries and skipped rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EntryCounts {
    /// Rows that become an entry.
    pub(crate) keys: u64,
    /// Those of them with at least one recommendation.
    pub(crate) filled: u64,
    /// Rows without a user.
    pub(crate) null_users: u64,
    /// Rows with a user, but with null in another column of the key.
    pub(crate) null_fields: u64,
    /// Bytes of all keys, and of the documents if they were encoded.
    pub(crate) bytes: u64,
}

impl EntryCounts {
    /// Number of all rows.
    pub(crate) fn rows(&self) -> u64 {
        self.keys + self.null_users + self.null_fields
    }
}

/// Encodes the rows of a dataset as entries: keys with documents.
pub(crate) struct RowEncoder<'a> {
    dataset: &'a DatasetFiles,
    pattern: KeyPattern,
    /// Column with the id of the user or item; a row without it is skipped.
    user: String,
    format: DocumentFormat,
    /// Column with the vectors.
    vector: Option<String>,
    decoders: BTreeMap<String, Decoder>,
    dropped: Cell<u64>,
    /// Length of the vectors.
    dimension: Cell<Option<usize>>,
}

impl<'a> RowEncoder<'a> {
    /// `user` is the column with the id of the user or item, `vector` that with the vectors of [`DocumentFormat::Vector`].
    pub(crate) fn new(
        dataset: &'a DatasetFiles,
        pattern: KeyPattern,
        user: &str,
        format: DocumentFormat,
        vector: Option<&str>,
    ) -> Result<Self> {
        let mut encoder = RowEncoder {
            dataset,
            pattern,
            user: user.to_owned(),
            format,
            vector: vector.map(str::to_owned),
            decoders: BTreeMap::new(),
            dropped: Cell::new(0),
            dimension: Cell::new(None),
        };
        let mut decoders = BTreeMap::new();
        for name in encoder.columns(true) {
            if let Some(decoder) = Decoder::of(dataset, name)? {
                decoders.insert(name.to_owned(), decoder);
            }
        }
        encoder.decoders = decoders;
        Ok(encoder)
    }

    /// Columns of the keys, and of the documents if `documents`.
    fn columns(&self, documents: bool) -> Vec<&str> {
        let mut columns: Vec<&str> = self.pattern.fields().chain([self.user.as_str()]).collect();
        if documents {
            match self.format {
                DocumentFormat::Ids => columns.push(RECOMMENDATIONS),
                DocumentFormat::IdsAndScores | DocumentFormat::Items => columns.extend([RECOMMENDATIONS, SCORES]),
                DocumentFormat::Fields => columns.extend(self.dataset.schema.names()),
                DocumentFormat::Vector => columns.extend(self.vector.as_deref()),
            }
        }
        columns
    }

    fn has_scores(&self) -> bool {
        let lists = matches!(
            self.format,
            DocumentFormat::Ids | DocumentFormat::IdsAndScores | DocumentFormat::Items
        );
        lists && self.dataset.schema.get(SCORES).is_some_and(Column::is_list)
    }

    /// Counts the entries and spills the hashes of their keys. Invalid scores and values are errors. With `documents`, the
    /// digests of the documents are computed as well; with `lists`, non-empty lists are counted.
    pub(crate) fn count(
        &self,
        context: &Context,
        documents: bool,
        lists: bool,
    ) -> Result<(EntryCounts, Spill<CurrentKey>)> {
        let mut counts = EntryCounts::default();
        let mut spill = Spill::new(&context.temp_file("keys"));
        let mut columns = self.columns(documents);
        if lists && !documents && self.format != DocumentFormat::Fields && self.format != DocumentFormat::Vector {
            columns.push(RECOMMENDATIONS);
        }
        if self.has_scores() {
            columns.push(SCORES);
        }
        let floating = |column: &&Column| self.format == DocumentFormat::Fields && column.element_type().is_floating();
        let floats: Vec<&str> = self
            .dataset
            .schema
            .columns
            .iter()
            .filter(floating)
            .map(|c| c.name.as_str())
            .collect();
        columns.extend(&floats);
        let (mut key, mut document) = (Vec::new(), Vec::new());
        for (_, table) in &self.dataset.splits {
            for batch in table.batches(Some(&columns))? {
                context.cancel.check()?;
                let batch = batch?;
                let keys = Keys::of(self, &batch)?;
                self.check_scores(&batch, &keys)?;
                self.check_fields(&batch, &keys, &floats)?;
                let encoded = (documents || lists).then(|| self.documents(&batch)).transpose()?;
                for row in 0..batch.num_rows() {
                    key.clear();
                    if keys.user.is_null(row) {
                        counts.null_users += 1;
                    } else if keys.push(&self.pattern, row, &mut key) {
                        document.clear();
                        if let Some(encoded) = &encoded {
                            counts.filled += u64::from(encoded.length(row) > 0);
                            if documents {
                                encoded.encode(&keys.user, row, &mut document)?;
                            }
                        }
                        counts.bytes += (key.len() + document.len()) as u64;
                        spill.push(&CurrentKey {
                            hash: xxh3_128(&key),
                            digest: digest(&document),
                            row: counts.keys,
                        })?;
                        counts.keys += 1;
                    } else {
                        counts.null_fields += 1;
                    }
                }
            }
        }
        Ok((counts, spill))
    }

    /// Error for a duplicate key; `row` is the index of its second occurrence among all keys.
    pub(crate) fn duplicate(&self, row: u64) -> OperatorError {
        let key = self.chunks(1024).find_map(|chunk| {
            let chunk = chunk.ok()?;
            let place = row.checked_sub(chunk.first)? as usize;
            (place < chunk.len()).then(|| String::from_utf8_lossy(chunk.get(place).0).into_owned())
        });
        OperatorError::invalid(format!(
            "several rows have the key `{}`: there must be one row per user over all splits, and the key must name the \
             column that tells users apart",
            key.unwrap_or_default()
        ))
    }

    fn check_scores(&self, batch: &RecordBatch, keys: &Keys) -> Result<()> {
        if !self.has_scores() {
            return Ok(());
        }
        let scores = self.column(batch, SCORES)?;
        let documents = Documents::lists(DocumentFormat::Ids, "", &scores, Some(&scores))?;
        let Some(row) = (0..batch.num_rows()).find(|row| documents.has_invalid_score(*row)) else {
            return Ok(());
        };
        let mut key = Vec::new();
        if !keys.user.is_null(row) {
            keys.push(&self.pattern, row, &mut key);
        }
        Err(OperatorError::invalid(format!(
            "a score of the key `{}` is missing or not a number: nothing was published; check the training of the model \
             (`loss`, `learning_rate`)",
            String::from_utf8_lossy(&key)
        )))
    }

    /// An error for an infinite or NaN value in one of these columns.
    fn check_fields(&self, batch: &RecordBatch, keys: &Keys, names: &[&str]) -> Result<()> {
        let columns = names
            .iter()
            .map(|name| Ok(((*name).to_owned(), self.column(batch, name)?)));
        let fields = Documents::fields(columns.collect::<Result<_>>()?)?;
        for row in (0..batch.num_rows()).filter(|row| !keys.user.is_null(*row)) {
            if let Some(name) = fields.non_finite_field(row) {
                let mut key = Vec::new();
                keys.push(&self.pattern, row, &mut key);
                return Err(OperatorError::invalid(format!(
                    "`{name}` of the key `{}` is not a number: nothing was published; FillMissing or Clip before it, or \
                     leave the column out with a selection",
                    String::from_utf8_lossy(&key)
                )));
            }
        }
        Ok(())
    }

    /// Entries in the order of the rows, in chunks of `size`; the last one may be shorter.
    pub(crate) fn chunks(&self, size: usize) -> impl Iterator<Item = Result<Chunk>> {
        // Gates and retries read the rows as well, and each pass counts anew.
        self.dropped.set(0);
        let mut reading = Reading {
            encoder: self,
            tables: self.dataset.splits.iter().map(|(_, table)| table).collect(),
            batches: None,
            batch: None,
            next: 0,
            before: (0, 0),
        };
        std::iter::from_fn(move || reading.chunk(size).transpose())
    }

    /// Length of the vectors; `None` if none was read yet.
    pub(crate) fn dimension(&self) -> Option<usize> {
        self.dimension.get()
    }

    /// Number of null recommendations that the last pass skipped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    fn documents(&self, batch: &RecordBatch) -> Result<Documents> {
        match self.format {
            DocumentFormat::Ids => {
                Documents::lists(self.format, &self.user, &self.column(batch, RECOMMENDATIONS)?, None)
            }
            DocumentFormat::IdsAndScores | DocumentFormat::Items => {
                let scores = self.column(batch, SCORES)?;
                let items = self.column(batch, RECOMMENDATIONS)?;
                Documents::lists(self.format, &self.user, &items, Some(&scores))
            }
            DocumentFormat::Fields => {
                let names = self.dataset.schema.names();
                let columns = names.map(|name| Ok((name.to_owned(), self.column(batch, name)?)));
                Documents::fields(columns.collect::<Result<_>>()?)
            }
            DocumentFormat::Vector => {
                let vector = self.vector.as_deref().unwrap_or_default();
                let id = self.column(batch, &self.user)?;
                Documents::vectors(
                    (&self.user, &id),
                    (vector, &self.column(batch, vector)?),
                    &self.dimension,
                )
            }
        }
    }

    fn column(&self, batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
        let column = batch
            .column_by_name(name)
            .ok_or_else(|| OperatorError::internal(format!("there is no column `{name}` in the stored table")))?;
        match self.decoders.get(name) {
            Some(decoder) => Ok(decoder.decode(column)?.values),
            None => Ok(std::sync::Arc::clone(column)),
        }
    }
}

/// Position of a pass over the rows.
struct Reading<'e, 'd> {
    encoder: &'e RowEncoder<'d>,
    tables: std::collections::VecDeque<&'d towline_api::TableFile>,
    batches: Option<parquet::arrow::arrow_reader::ParquetRecordBatchReader>,
    batch: Option<(Keys, Documents, std::ops::Range<usize>)>,
    next: u64,
    /// Size of the last chunk.
    before: (usize, usize),
}

impl Reading<'_, '_> {
    fn chunk(&mut self, size: usize) -> Result<Option<Chunk>> {
        let mut chunk = Chunk::with_capacity(self.before, self.next);
        while chunk.len() < size {
            if self.batch.is_none() && !self.read()? {
                break;
            }
            if let Some((keys, documents, rows)) = &mut self.batch {
                match rows.next() {
                    Some(row) => push(self.encoder, keys, documents, row, &mut chunk)?,
                    None => self.batch = None,
                }
            }
        }
        self.next += chunk.len() as u64;
        self.before = chunk.size();
        Ok((chunk.len() > 0).then_some(chunk))
    }

    /// Reads the next record batch; `false` at the end.
    fn read(&mut self) -> Result<bool> {
        loop {
            if let Some(batch) = self.batches.as_mut().and_then(Iterator::next) {
                let batch = batch?;
                let keys = Keys::of(self.encoder, &batch)?;
                self.batch = Some((keys, self.encoder.documents(&batch)?, 0..batch.num_rows()));
                return Ok(true);
            }
            let Some(table) = self.tables.pop_front() else {
                return Ok(false);
            };
            self.batches = Some(table.batches(Some(&self.encoder.columns(true)))?);
        }
    }
}

/// Appends the entry of a row, unless the row is skipped.
fn push(encoder: &RowEncoder<'_>, keys: &Keys, documents: &Documents, row: usize, chunk: &mut Chunk) -> Result<()> {
    let key = |out: &mut Vec<u8>| !keys.user.is_null(row) && keys.push(&encoder.pattern, row, out);
    let dropped = chunk.push(key, |out| documents.encode(&keys.user, row, out))?;
    encoder.dropped.set(encoder.dropped.get() + dropped);
    Ok(())
}

/// Columns of the keys in a record batch.
struct Keys {
    user: ColumnValues,
    fields: Vec<ColumnValues>,
}

impl Keys {
    fn of(encoder: &RowEncoder<'_>, batch: &RecordBatch) -> Result<Self> {
        let user = ColumnValues::of(&encoder.column(batch, &encoder.user)?)?;
        let fields = encoder
            .pattern
            .fields()
            .map(|name| ColumnValues::of(&encoder.column(batch, name)?))
            .collect::<Result<_>>()?;
        Ok(Keys { user, fields })
    }

    /// Appends the key of a row; `false` if a column of the key is null.
    fn push(&self, pattern: &KeyPattern, row: usize, out: &mut Vec<u8>) -> bool {
        if self.fields.iter().any(|cells| cells.is_null(row)) {
            return false;
        }
        pattern.render(out, |field, out| self.fields[field].push_text(row, out));
        true
    }
}
