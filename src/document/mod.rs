//! YAML text to a tree in which every value keeps its place, and diagnostics that point into it.

mod diagnostic;
mod load;
mod render;
mod scalar;
mod source_map;
mod value;

pub use diagnostic::{Code, Diagnostic, Severity};
pub use load::load;
pub use render::{Style, render, summary};
pub use scalar::resolve_plain;
pub use source_map::{FileId, SourceMap, Span};
pub use value::{Key, Mapping, Value, ValueKind};
