//! The tree of a pipeline file, read into nodes and chains, and from there into a graph.

mod chain;
mod chain_operators;
mod cycle;
mod defaults;
mod expectation;
pub mod expression;
mod file;
mod include;
pub(crate) mod interpolation;
mod key_errors;
mod load;
mod model;
mod names;
mod nodes;
mod reference;
mod resolve;
mod schema;
mod settings;
mod sweep;
#[cfg(test)]
mod tests;
mod version;
pub mod yaml;

pub use chain_operators::ChainOperators;
pub use expectation::Expectation;
pub(crate) use expectation::read_expectations;
pub use interpolation::overrides::{BadOverride, Override};
pub(crate) use key_errors::{deprecated_name, unknown_key, wrong_type};
pub use load::{LoadOptions, Loaded, load_file, load_text};
pub use model::{Connections, InvalidParts, Node, Pipeline, Reference, Selection};
pub use schema::json_schema;
pub use settings::{CacheMode, Settings};
