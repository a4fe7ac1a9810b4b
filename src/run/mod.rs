//! Planning and running a pipeline.

mod collect;
mod commit;
mod events;
mod execute;
mod expectations;
mod failure;
mod lookup;
mod options;
mod panics;
mod planner;
mod progress;
mod record;
mod resolve;
mod scheduler;
mod session;
mod state;
mod transform;
mod value;
mod work;

pub(crate) use collect::collect;
pub use events::{Event, Events, Subscriber};
pub use failure::Failure;
pub use options::RunOptions;
pub use planner::plan;
pub use progress::{ProgressMode, show};
pub use record::{NodeRecord, NodeStatus, RECORD_VERSION, RunRecord};
pub use scheduler::{Clock, RunOutcome, SystemClock, run};
pub(crate) use session::session;
pub use transform::{TransformError, Transformer};
pub use value::{NodeValue, StoredDataset};
pub(crate) use work::Role;
