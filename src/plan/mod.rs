//! What a node's work depends on, where its output lives, which nodes a run is about, and what a run would do.

mod decide;
mod fingerprint;
mod placement;
#[expect(clippy::module_inception, reason = "the plan is what the folder is about")]
mod plan;
mod provenance;
mod reasons;
mod selector;

pub use decide::{Awaited, CacheState, Decision, JobId, Known, Need, NeedState, decide};
pub use fingerprint::{ENGINE, FINGERPRINT_VERSION, Fingerprint, InputPart};
pub use placement::{Placement, placements};
pub use plan::{ExpectationRecord, FROM_SHARED, Plan, PlannedNode, Selection};
pub use provenance::{Explanation, Origin, OriginNote, Step};
pub use reasons::changes;
pub(crate) use reasons::{compare, grouped};
pub use selector::{Selector, reach};
