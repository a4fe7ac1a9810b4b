//! Checks of memory estimates against a limit.

use towline_api::byte_size::byte_size;
use towline_api::{OperatorError, Result};

/// An operator's memory limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryLimit(Option<usize>);

impl MemoryLimit {
    /// Parses a limit that validation has accepted.
    pub(crate) fn of(text: Option<&str>) -> Self {
        MemoryLimit(text.and_then(byte_size))
    }

    /// The limit in bytes, or `usize::MAX` without one.
    pub(crate) fn bytes(self) -> usize {
        self.0.unwrap_or(usize::MAX)
    }

    /// An error if `bytes` exceeds the limit; `what` needs them, `help` tells the user what to do.
    pub(crate) fn check(self, bytes: usize, what: &str, help: &str) -> Result<()> {
        match self.0 {
            Some(limit) if bytes > limit => Err(OperatorError::invalid(format!(
                "{what} need at least {} MB, but `memory_limit` is {} MB: {help}",
                bytes.div_ceil(1_000_000),
                limit / 1_000_000
            ))),
            _ => Ok(()),
        }
    }
}
