//! Results on standard output.

use std::fmt;
use std::io::{self, Write};

use crate::cli::Exit;

/// Writes results on standard output. The process ends when that cannot be done: without a word when the reader has closed
/// it, as `head` does.
pub(super) fn write(text: fmt::Arguments<'_>) {
    let exit = match written(&mut io::stdout().lock(), text) {
        Ok(()) => return,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::BrokenPipe,
        Err(error) => {
            eprintln!("error: the results cannot be written: {error}");
            Exit::Failed
        }
    };
    std::process::exit(i32::from(exit.code()));
}

fn written(out: &mut impl Write, text: fmt::Arguments<'_>) -> io::Result<()> {
    out.write_fmt(text)?;
    out.flush()
}
