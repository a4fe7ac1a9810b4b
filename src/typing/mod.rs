//! Static analysis: columns, types, tags and domains through the graph, and diagnostics, with no data read.

mod bind;
mod expectations;
mod graph;
mod selected_type;
mod targets;
mod types;
mod unused;

pub use bind::Binding;
pub use graph::{Connection, GraphNode, NodeId, TypedGraph};
pub(crate) use selected_type::selected_names;
pub use types::{CheckedExpectation, Rows, TypedNode, TypedPipeline, propagate};
