//! Static analysis: columns, types, tags and domains through the graph, and diagnostics, with no data read.

mod bind;
mod deprecated_names;
mod expectations;
mod graph;
mod node_id;
mod problems;
mod propagate;
mod selected_type;
mod shared_store;
mod targets;
mod typed_pipeline;
mod unused;

pub use bind::Binding;
pub use graph::{Connection, GraphNode, TypedGraph};
pub use node_id::NodeId;
pub use propagate::propagate;
pub(crate) use selected_type::selected_names;
pub use typed_pipeline::{CheckedExpectation, RowOrigin, TypedNode, TypedPipeline};
