//! YAML text, read into a tree in which every value keeps its place, and the diagnostics that point back into it.

mod compose;
mod diagnostic;
mod load;
mod open_mapping;
mod placement;
mod render;
mod scalar;
mod source;
#[cfg(test)]
mod tests;
mod value;

pub use diagnostic::{Diagnostic, HINTED, Severity};
pub use load::{Parsed, load, parse};
pub use placement::Placement;
pub use render::{Style, render, summary};
pub(crate) use scalar::shorten;
pub use scalar::{IntegerTooLarge, resolve as resolve_scalar};
pub use source::{FileId, SourceMap, Span, Spanned};
pub use towline_api::Code;
pub use value::{Key, Mapping, Value, ValueKind};

/// How large a file may be.
pub const MAX_BYTES: usize = 16 << 20;

/// How deeply collections may nest, aliases and variables included.
pub const MAX_DEPTH: usize = 200;

/// How much aliases and variables may add to a document, in nodes (a long string counts as several).
pub const MAX_EXPANSION: usize = 100_000;
