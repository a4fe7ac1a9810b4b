//! From rows to keys and documents.

use std::cell::Cell;
use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use xxhash_rust::xxh3::xxh3_128;

use crate::batch::chunk::{Chunk, digest};
use crate::batch::decode::Decoder;
use crate::batch::documents::{Documents, Form, RECOMMENDATIONS, SCORES};
use crate::batch::field_values::Cells;
use crate::batch::spill::{Row, Spill};
use crate::key_pattern::KeyPattern;
use towline_api::{Column, Context, DatasetFiles, OperatorError, Result};

/// What a look at the rows has found, before anything is written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Rows that become a key each.
    pub(crate) keys: u64,
    /// Those of them that have something to recommend.
    pub(crate) filled: u64,
    /// Rows whose user is null.
    pub(crate) null_users: u64,
    /// Rows with a user, but with a null in another column of the key.
    pub(crate) null_fields: u64,
    /// The bytes of all keys, and of all documents where they were looked at.
    pub(crate) bytes: u64,
}

impl Census {
    /// All rows.
    pub(crate) fn rows(&self) -> u64 {
        self.keys + self.null_users + self.null_fields
    }
}

/// Reads the entries of a dataset.
pub(crate) struct Entries<'a> {
    dataset: &'a DatasetFiles,
    pattern: KeyPattern,
    /// The column with the id that a document names; a row without it is not written.
    user: String,
    form: Form,
    /// The column of vectors.
    vector: Option<String>,
    decoders: BTreeMap<String, Decoder>,
    dropped: Cell<u64>,
    /// How many values the vectors have.
    width: Cell<Option<usize>>,
}

impl<'a> Entries<'a> {
    /// `user` is the name of the column with the user's or the item's id, `vector` that of the vectors in
    /// [`Form::Vector`].
    pub(crate) fn new(
        dataset: &'a DatasetFiles,
        pattern: KeyPattern,
        user: &str,
        form: Form,
        vector: Option<&str>,
    ) -> Result<Self> {
        let mut entries = Entries {
            dataset,
            pattern,
            user: user.to_owned(),
            form,
            vector: vector.map(str::to_owned),
            decoders: BTreeMap::new(),
            dropped: Cell::new(0),
            width: Cell::new(None),
        };
        let mut decoders = BTreeMap::new();
        for name in entries.columns(true) {
            if let Some(decoder) = Decoder::of(dataset, name)? {
                decoders.insert(name.to_owned(), decoder);
            }
        }
        entries.decoders = decoders;
        Ok(entries)
    }

    /// The columns that keys need, with those of the documents or without.
    fn columns(&self, documents: bool) -> Vec<&str> {
        let mut columns: Vec<&str> = self.pattern.fields().chain([self.user.as_str()]).collect();
        if documents {
            match self.form {
                Form::Ids => columns.push(RECOMMENDATIONS),
                Form::IdsAndScores | Form::Items => columns.extend([RECOMMENDATIONS, SCORES]),
                Form::Fields => columns.extend(self.dataset.schema.names()),
                Form::Vector => columns.extend(self.vector.as_deref()),
            }
        }
        columns
    }

    fn has_scores(&self) -> bool {
        let lists = matches!(self.form, Form::Ids | Form::IdsAndScores | Form::Items);
        lists && self.dataset.schema.get(SCORES).is_some_and(Column::is_list)
    }

    /// Counts the keys, before anything is written, and spills what tells them apart. Two rows of one key are an error:
    /// which of them the readers would see would be chance. So is a score that is not a number. With `documents`, the
    /// digests of the documents are taken as well; with `lists`, it is counted who has something to recommend.
    pub(crate) fn census(&self, context: &Context, documents: bool, lists: bool) -> Result<(Census, Spill<Row>)> {
        let mut census = Census::default();
        let mut spill = Spill::new(&context.temp_file("keys"));
        let mut columns = self.columns(documents);
        if lists && !documents && self.form != Form::Fields && self.form != Form::Vector {
            columns.push(RECOMMENDATIONS);
        }
        if self.has_scores() {
            columns.push(SCORES);
        }
        let floating = |column: &&Column| self.form == Form::Fields && column.element_type().is_floating();
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
                        census.null_users += 1;
                    } else if keys.push(&self.pattern, row, &mut key) {
                        document.clear();
                        if let Some(encoded) = &encoded {
                            census.filled += u64::from(encoded.length(row) > 0);
                            if documents {
                                encoded.encode(&keys.user, row, &mut document)?;
                            }
                        }
                        census.bytes += (key.len() + document.len()) as u64;
                        spill.push(&Row {
                            hash: xxh3_128(&key),
                            digest: digest(&document),
                            row: census.keys,
                        })?;
                        census.keys += 1;
                    } else {
                        census.null_fields += 1;
                    }
                }
            }
        }
        Ok((census, spill))
    }

    /// The error for a key that occurs twice; `row` is the place of its second occurrence among all keys.
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
        let documents = Documents::lists(Form::Ids, "", &scores, Some(&scores))?;
        let Some(row) = (0..batch.num_rows()).find(|row| documents.has_bad_score(*row)) else {
            return Ok(());
        };
        let mut key = Vec::new();
        if !keys.user.is_null(row) {
            keys.push(&self.pattern, row, &mut key);
        }
        Err(OperatorError::invalid(format!(
            "a score of the key `{}` is missing or not a number: nothing was published; look for what went wrong in \
             training (`loss`, `learning_rate`)",
            String::from_utf8_lossy(&key)
        )))
    }

    /// An error for a number that is none in one of these columns, in a row that becomes a hash.
    fn check_fields(&self, batch: &RecordBatch, keys: &Keys, names: &[&str]) -> Result<()> {
        let columns = names
            .iter()
            .map(|name| Ok(((*name).to_owned(), self.column(batch, name)?)));
        let fields = Documents::fields(columns.collect::<Result<_>>()?)?;
        for row in (0..batch.num_rows()).filter(|row| !keys.user.is_null(*row)) {
            if let Some(name) = fields.bad_field(row) {
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

    /// The entries, in the order of the rows, in chunks of `size`; the last one may be shorter.
    pub(crate) fn chunks(&self, size: usize) -> impl Iterator<Item = Result<Chunk>> {
        // Gates and retries read the rows as well, and each pass counts all of them.
        self.dropped.set(0);
        let mut reading = Reading {
            entries: self,
            tables: self.dataset.splits.iter().map(|(_, table)| table).collect(),
            batches: None,
            batch: None,
            next: 0,
            before: (0, 0),
        };
        std::iter::from_fn(move || reading.chunk(size).transpose())
    }

    /// How many values the vectors have that were read so far, all of them the same; `None` if there were none.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width.get()
    }

    /// How many recommendations were left out in the last pass because they are null.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    fn documents(&self, batch: &RecordBatch) -> Result<Documents> {
        match self.form {
            Form::Ids => Documents::lists(self.form, &self.user, &self.column(batch, RECOMMENDATIONS)?, None),
            Form::IdsAndScores | Form::Items => {
                let scores = self.column(batch, SCORES)?;
                let items = self.column(batch, RECOMMENDATIONS)?;
                Documents::lists(self.form, &self.user, &items, Some(&scores))
            }
            Form::Fields => {
                let names = self.dataset.schema.names();
                let columns = names.map(|name| Ok((name.to_owned(), self.column(batch, name)?)));
                Documents::fields(columns.collect::<Result<_>>()?)
            }
            Form::Vector => {
                let vector = self.vector.as_deref().unwrap_or_default();
                let id = self.column(batch, &self.user)?;
                Documents::vectors((&self.user, &id), (vector, &self.column(batch, vector)?), &self.width)
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

/// Where a pass over the rows is.
struct Reading<'e, 'd> {
    entries: &'e Entries<'d>,
    tables: std::collections::VecDeque<&'d towline_api::TableFile>,
    batches: Option<parquet::arrow::arrow_reader::ParquetRecordBatchReader>,
    batch: Option<(Keys, Documents, std::ops::Range<usize>)>,
    next: u64,
    /// The size of the last chunk.
    before: (usize, usize),
}

impl Reading<'_, '_> {
    fn chunk(&mut self, size: usize) -> Result<Option<Chunk>> {
        let mut chunk = Chunk::like(self.before, self.next);
        while chunk.len() < size {
            if self.batch.is_none() && !self.read()? {
                break;
            }
            if let Some((keys, documents, rows)) = &mut self.batch {
                match rows.next() {
                    Some(row) => push(self.entries, keys, documents, row, &mut chunk)?,
                    None => self.batch = None,
                }
            }
        }
        self.next += chunk.len() as u64;
        self.before = chunk.size();
        Ok((chunk.len() > 0).then_some(chunk))
    }

    /// Reads the next batch; `false` at the end.
    fn read(&mut self) -> Result<bool> {
        loop {
            if let Some(batch) = self.batches.as_mut().and_then(Iterator::next) {
                let batch = batch?;
                let keys = Keys::of(self.entries, &batch)?;
                self.batch = Some((keys, self.entries.documents(&batch)?, 0..batch.num_rows()));
                return Ok(true);
            }
            let Some(table) = self.tables.pop_front() else {
                return Ok(false);
            };
            self.batches = Some(table.batches(Some(&self.entries.columns(true)))?);
        }
    }
}

/// Appends the entry of a row, if it becomes one.
fn push(entries: &Entries<'_>, keys: &Keys, documents: &Documents, row: usize, chunk: &mut Chunk) -> Result<()> {
    let key = |out: &mut Vec<u8>| !keys.user.is_null(row) && keys.push(&entries.pattern, row, out);
    let dropped = chunk.push(key, |out| documents.encode(&keys.user, row, out))?;
    entries.dropped.set(entries.dropped.get() + dropped);
    Ok(())
}

/// The columns that make the keys of one batch.
struct Keys {
    user: Cells,
    fields: Vec<Cells>,
}

impl Keys {
    fn of(entries: &Entries<'_>, batch: &RecordBatch) -> Result<Self> {
        let user = Cells::of(&entries.column(batch, &entries.user)?)?;
        let fields = entries
            .pattern
            .fields()
            .map(|name| Cells::of(&entries.column(batch, name)?))
            .collect::<Result<_>>()?;
        Ok(Keys { user, fields })
    }

    /// Appends the key of a row; `false` if a column of the key is null there.
    fn push(&self, pattern: &KeyPattern, row: usize, out: &mut Vec<u8>) -> bool {
        if self.fields.iter().any(|cells| cells.is_null(row)) {
            return false;
        }
        pattern.render(out, |field, out| self.fields[field].push_text(row, out));
        true
    }
}
