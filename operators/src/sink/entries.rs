//! From rows to keys and documents.

use std::cell::Cell;
use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_128;

use super::decode::Decoder;
use super::document::{Cells, Documents};
use super::key_pattern::KeyPattern;
use crate::contract::{Cancel, DatasetFiles, OperatorError, Result, TableFile};

/// The column of lists.
pub(super) const RECOMMENDATIONS: &str = "recommendations";

/// What is stored for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
}

/// What a look at the keys has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// Rows that become a key each.
    pub(super) keys: u64,
    /// Rows whose user is null.
    pub(super) null_users: u64,
    /// Rows with a user, but with a null in another column of the key.
    pub(super) null_fields: u64,
}

/// Reads the entries of a dataset.
pub(super) struct Entries<'a> {
    dataset: &'a DatasetFiles,
    pattern: KeyPattern,
    user: String,
    decoders: BTreeMap<String, Decoder>,
    dropped: Cell<u64>,
}

impl<'a> Entries<'a> {
    /// `user` is the name of the user's id column.
    pub(super) fn new(dataset: &'a DatasetFiles, pattern: KeyPattern, user: &str) -> Result<Self> {
        let mut decoders = BTreeMap::new();
        for name in pattern.fields().chain([user, RECOMMENDATIONS]) {
            if let Some(decoder) = Decoder::of(dataset, name)? {
                decoders.insert(name.to_owned(), decoder);
            }
        }
        Ok(Entries {
            dataset,
            pattern,
            user: user.to_owned(),
            decoders,
            dropped: Cell::new(0),
        })
    }

    /// Counts the keys, before anything is written. Two rows of one key are an error: which of them the readers would
    /// see would be chance.
    pub(super) fn census(&self, cancel: &Cancel) -> Result<Census> {
        let mut census = Census::default();
        let mut seen = HashSet::new();
        let columns: Vec<&str> = self.pattern.fields().chain([self.user.as_str()]).collect();
        for (_, table) in &self.dataset.splits {
            for batch in table.batches(Some(&columns))? {
                cancel.check()?;
                let batch = batch?;
                let keys = Keys::of(self, &batch)?;
                for row in 0..batch.num_rows() {
                    if keys.user.is_null(row) {
                        census.null_users += 1;
                    } else if let Some(key) = keys.key(&self.pattern, row) {
                        census.keys += 1;
                        if !seen.insert(xxh3_128(key.as_bytes())) {
                            return Err(OperatorError::invalid(format!(
                                "several rows have the key `{key}`: there must be one row per user over all splits, \
                                 and the key must name the column that tells users apart"
                            )));
                        }
                    } else {
                        census.null_fields += 1;
                    }
                }
            }
        }
        Ok(census)
    }

    /// The entries, in the order of the rows, in chunks of at most `size`.
    pub(super) fn chunks(&self, size: usize) -> impl Iterator<Item = Result<Vec<Entry>>> {
        self.dataset.splits.iter().flat_map(move |(_, table)| {
            // A table that cannot be opened is one chunk, which is the error.
            let (batches, error) = match self.batches(table) {
                Ok(batches) => (Some(batches), None),
                Err(error) => (None, Some(Err(error))),
            };
            batches
                .into_iter()
                .flatten()
                .flat_map(move |batch| split(batch, size))
                .chain(error)
        })
    }

    /// How many recommendations were left out so far because they are null.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    fn batches(&self, table: &TableFile) -> Result<impl Iterator<Item = Result<Vec<Entry>>>> {
        let columns: Vec<&str> = self
            .pattern
            .fields()
            .chain([self.user.as_str(), RECOMMENDATIONS])
            .collect();
        Ok(table.batches(Some(&columns))?.map(|batch| self.encode(&batch?)))
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Vec<Entry>> {
        let keys = Keys::of(self, batch)?;
        let documents = Documents::new(&self.user, &self.column(batch, RECOMMENDATIONS)?)?;
        let mut entries = Vec::with_capacity(batch.num_rows());
        for row in (0..batch.num_rows()).filter(|&row| !keys.user.is_null(row)) {
            if let Some(key) = keys.key(&self.pattern, row) {
                let (value, dropped) = documents.encode(&keys.user, row);
                self.dropped.set(self.dropped.get() + dropped);
                entries.push(Entry { key, value });
            }
        }
        Ok(entries)
    }

    fn column(&self, batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
        let column = batch
            .column_by_name(name)
            .ok_or_else(|| OperatorError::invalid(format!("there is no column `{name}` in the stored table")))?;
        match self.decoders.get(name) {
            Some(decoder) => Ok(decoder.decode(column)?.values),
            None => Ok(std::sync::Arc::clone(column)),
        }
    }
}

fn split(batch: Result<Vec<Entry>>, size: usize) -> Vec<Result<Vec<Entry>>> {
    match batch {
        Ok(mut entries) => {
            let mut chunks = Vec::new();
            while entries.len() > size {
                let rest = entries.split_off(size);
                chunks.push(Ok(std::mem::replace(&mut entries, rest)));
            }
            if !entries.is_empty() {
                chunks.push(Ok(entries));
            }
            chunks
        }
        Err(error) => vec![Err(error)],
    }
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

    /// The key of a row; `None` if a column of the key is null there.
    fn key(&self, pattern: &KeyPattern, row: usize) -> Option<String> {
        if self.fields.iter().any(|cells| cells.is_null(row)) {
            return None;
        }
        Some(pattern.render(|field, out| self.fields[field].push_text(row, out)))
    }
}
