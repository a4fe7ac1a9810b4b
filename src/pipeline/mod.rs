//! The tree of a pipeline file, read into nodes and chains, and from there into a graph.

mod chain;
mod cycle;
mod defaults;
mod expand;
mod expectation;
mod include;
mod interpolate;
mod load;
mod model;
mod names;
mod nodes;
mod overrides;
mod reference;
mod resolve;
mod schema;
mod secrets;
mod settings;
mod sweep;
mod template;
#[cfg(test)]
mod tests;
mod variables;

pub use expectation::Expectation;
pub(crate) use expectation::read_expectations;
pub use load::{ChainOperators, LoadOptions, Loaded, load_file, load_text};
pub use model::{Connections, Holes, Node, Pipeline, Reference, Selection};
pub(crate) use nodes::{unknown_key, wrong_type};
pub use overrides::{BadOverride, Override};
pub use schema::json_schema;
pub use settings::{CacheMode, Settings};
