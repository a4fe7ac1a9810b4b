//! Embedded store: a redb file with one batch.
//!
//! A batch is written to a new file in one transaction, and the file then replaces the old one atomically: readers see one
//! batch or the other, and stale keys disappear.

use std::path::Path;

use redb::{Database, ReadOnlyDatabase, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use crate::batch::chunk::Chunk;
use towline_api::{Context, OperatorError, Result};
use towline_tables::AtomicFile;

/// Table of the embedded store, from key to document.
pub const KEYS_TABLE: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("keys");

/// Page cache of redb; its default is a gigabyte.
const CACHE_BYTES: usize = 128 << 20;

/// Writes all entries to the store at `path`. Returns the number of keys and the size of the file.
pub(crate) fn publish(
    path: &Path,
    chunks: impl Iterator<Item = Result<Chunk>>,
    context: &Context,
) -> Result<(u64, u64)> {
    let file = AtomicFile::create(path)?;
    let written = fill(&file, path, chunks, context)?;
    Ok((written, file.publish()?))
}

/// Number of keys in the store at `path`; 0 if there is no store.
pub(crate) fn key_count(path: &Path) -> u64 {
    let count = || {
        let transaction = ReadOnlyDatabase::open(path).ok()?.begin_read().ok()?;
        transaction.open_table(KEYS_TABLE).ok()?.len().ok()
    };
    count().unwrap_or(0)
}

fn fill(file: &AtomicFile, path: &Path, chunks: impl Iterator<Item = Result<Chunk>>, context: &Context) -> Result<u64> {
    let mut written = 0;
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(file.path())
        .map_err(failed(path))?;
    let transaction = database.begin_write().map_err(failed(path))?;
    {
        let mut table = transaction.open_table(KEYS_TABLE).map_err(failed(path))?;
        for chunk in chunks {
            context.cancel.check()?;
            let chunk = chunk?;
            for (key, document) in chunk.iter() {
                let key = std::str::from_utf8(key).map_err(|_| OperatorError::invalid("a key is not text"))?;
                table.insert(key, document).map_err(failed(path))?;
            }
            written += chunk.len() as u64;
            context.progress.advance(chunk.len() as u64);
        }
    }
    transaction.commit().map_err(failed(path))?;
    Ok(written)
}

fn failed<E: Into<redb::Error>>(path: &Path) -> impl Fn(E) -> OperatorError {
    move |error| OperatorError::invalid(format!("{}: cannot write the store: {}", path.display(), error.into()))
}
