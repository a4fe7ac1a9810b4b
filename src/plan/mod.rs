//! What flows through the graph before anything runs, and what a node's work depends on.

mod bind;
mod fingerprint;
mod origin;
mod placement;
mod reasons;
mod select;
mod selection;
mod targets;
mod types;
mod unused;

pub use bind::Binding;
pub use fingerprint::{ENGINE, FINGERPRINT_VERSION, Fingerprint, InputPart};
pub use origin::{Explanation, Origin, OriginNote, Step};
pub use placement::{Placement, placements};
pub use reasons::changes;
pub(crate) use reasons::{compare, grouped};
pub(crate) use select::selected_names;
pub use selection::{Selector, reach};
pub use types::{CheckedExpectation, Rows, TypedNode, TypedPipeline, propagate};
