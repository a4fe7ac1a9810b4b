//! What flows through the graph before anything runs, and what a node's work depends on.

mod bind;
mod fingerprint;
mod select;
mod types;

pub use bind::Binding;
pub use fingerprint::{Fingerprint, changes};
pub(crate) use select::selected_names;
pub use types::{Rows, TypedNode, TypedPipeline, propagate};
