//! The address of the shared store that a pipeline names.

use crate::config::Pipeline;
use crate::config::yaml::{Code, Diagnostic};
use crate::store::Address;

/// An error if the address is not one that can be opened.
pub(crate) fn check(pipeline: &Pipeline) -> Option<Diagnostic> {
    let store = pipeline.store.as_ref()?;
    let message = store.value.parse::<Address>().err()?;
    let diagnostic = Diagnostic::error(Code::OutOfRange, message).at(store.span);
    Some(diagnostic.help("a folder for this machine alone is named with --store"))
}
