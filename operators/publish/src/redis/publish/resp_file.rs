//! File of commands for `redis-cli --pipe`.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::batch::chunk::Chunk;
use crate::redis::client::value_format::{Item, ValueFormat};
use towline_api::{Context, OperatorError, Result};
use towline_tables::AtomicFile;

/// Writes all entries as commands. Returns the number of keys and the size of the file.
pub(crate) fn write(
    path: &Path,
    format: ValueFormat,
    chunks: impl Iterator<Item = Result<Chunk>>,
    context: &Context,
) -> Result<(u64, u64)> {
    let file = AtomicFile::create(path)?;
    let out = OpenOptions::new()
        .write(true)
        .open(file.path())
        .map_err(OperatorError::io(path))?;
    let mut out = BufWriter::new(out);
    let mut written = 0;
    for chunk in chunks {
        context.cancel.check()?;
        let chunk = chunk?;
        let items: Vec<Item<'_>> = chunk.iter().collect();
        out.write_all(&format.pack(&items)).map_err(OperatorError::io(path))?;
        written += chunk.len() as u64;
        context.progress.advance(chunk.len() as u64);
    }
    out.flush().map_err(OperatorError::io(path))?;
    drop(out);
    Ok((written, file.publish()?))
}
