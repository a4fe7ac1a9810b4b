//! A file of commands for `redis-cli --pipe`.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::commands::{Item, Style, packed};
use crate::contract::{Context, OperatorError, Result};
use crate::sink::AtomicFile;
use crate::sink::chunk::Chunk;

/// Writes all entries as commands. Returns how many keys there are and the size of the file.
pub(super) fn write(
    path: &Path,
    style: Style,
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
        out.write_all(&packed(style, &items)).map_err(OperatorError::io(path))?;
        written += chunk.len() as u64;
        context.progress.advance(chunk.len() as u64);
    }
    out.flush().map_err(OperatorError::io(path))?;
    drop(out);
    Ok((written, file.publish()?))
}
