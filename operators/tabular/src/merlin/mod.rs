//! The bridge to NVIDIA Merlin: its schemas, in JSON and in protocol buffers' text form, and NVTabular's vocabularies.

mod categories;
mod export;
mod feature;
mod metadata;
mod names;
mod schema_json;
mod schema_text;
mod source;
#[cfg(test)]
mod tests;

pub use export::MerlinExport;
pub use names::MERLIN_NAMES;
pub use source::MerlinSource;
