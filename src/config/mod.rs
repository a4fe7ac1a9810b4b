//! The tree of a pipeline file, read into nodes and chains, and from there into a graph.

mod chain;
mod cycle;
mod defaults;
mod expand;
mod expectation;
pub mod expression;
mod include;
pub(crate) mod interpolation;
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
pub mod yaml;

pub use expectation::Expectation;
pub(crate) use expectation::read_expectations;
pub use interpolation::overrides::{BadOverride, Override};
pub use load::{ChainOperators, LoadOptions, Loaded, load_file, load_text};
pub use model::{Connections, Holes, Node, Pipeline, Reference, Selection};
pub(crate) use nodes::{unknown_key, wrong_type};
pub use schema::json_schema;
pub use settings::{CacheMode, Settings};
