//! What a node's work depends on, where its output lives, and which nodes a run is about.

mod fingerprint;
mod placement;
mod provenance;
mod reasons;
mod selector;

pub use fingerprint::{ENGINE, FINGERPRINT_VERSION, Fingerprint, InputPart};
pub use placement::{Placement, placements};
pub use provenance::{Explanation, Origin, OriginNote, Step};
pub use reasons::changes;
pub(crate) use reasons::{compare, grouped};
pub use selector::{Selector, reach};
