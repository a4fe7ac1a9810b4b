//! Refusing what would not fit into memory.

use towline_api::byte_size::byte_size;
use towline_api::{OperatorError, Result};

/// How much memory an operator may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryLimit(Option<usize>);

impl MemoryLimit {
    /// The amount that `text` means, which was checked before.
    pub(crate) fn of(text: Option<&str>) -> Self {
        MemoryLimit(text.and_then(byte_size))
    }

    /// The bytes, and without a limit all there are.
    pub(crate) fn bytes(self) -> usize {
        self.0.unwrap_or(usize::MAX)
    }

    /// An error if so many bytes are more than it allows; `what` takes them and `help` says what can be done.
    pub(crate) fn check(self, bytes: usize, what: &str, help: &str) -> Result<()> {
        match self.0 {
            Some(limit) if bytes > limit => Err(OperatorError::invalid(format!(
                "{what} take at least {} MB, but memory_limit is {} MB: {help}",
                bytes.div_ceil(1_000_000),
                limit / 1_000_000
            ))),
            _ => Ok(()),
        }
    }
}
