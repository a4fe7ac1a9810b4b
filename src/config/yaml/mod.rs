//! YAML text, read into a tree in which every value keeps its place, and the diagnostics that point back into it.

mod compose;
mod diagnostic;
mod load;
mod open_mapping;
mod render;
mod scalar;
mod source;
mod span_map;
#[cfg(test)]
mod tests;
mod value;

pub use diagnostic::{Diagnostic, MAX_HINTS, Severity};
pub use load::{Parsed, load, parse};
pub use render::{Style, render, summary};
pub(crate) use scalar::shorten;
pub use scalar::{IntegerTooLarge, resolve as resolve_scalar};
pub use source::{FileId, SourceMap, Span, Spanned};
pub use span_map::SpanMap;
pub use towline_api::Code;
pub use value::{Key, Mapping, Value, ValueKind};

/// Maximum size of a file in bytes.
pub const MAX_BYTES: usize = 16 << 20;

/// Maximum nesting depth of collections, aliases and variables included.
pub const MAX_DEPTH: usize = 200;

/// Maximum size that aliases and variables may add to a document, in nodes (a long string counts as several).
pub const MAX_EXPANSION: usize = 100_000;
