//! NVIDIA Merlin interoperability: schemas in JSON and protobuf text format, and NVTabular's vocabulary files.

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
