//! Panics of operators.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::run::failure::Failure;

/// The result of an operator's work; a panic in it is a failure of the node and of nothing else.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // What the work shares with other nodes is behind locks whose poison is ignored, and every change under them is
    // complete on its own.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure::Panic(text.unwrap_or_else(|| "no message".to_owned())))
    })
}
