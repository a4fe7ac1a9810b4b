//! Running a plan.

mod commit;
mod fits;
mod forms;
mod materialise;
mod progress;
mod record;
mod reuse;
mod runner;
mod schedule;
mod session;
mod task;
mod transform;
mod value;

pub use progress::{Progress, ProgressMode};
pub use record::{NodeRecord, NodeStatus, RECORD_VERSION, RunRecord};
pub use runner::{Failure, Work};
pub use schedule::{RunOptions, plan, run};
pub(crate) use session::session;
pub use transform::{TransformError, Transformer};
pub use value::{NodeValue, StoredDataset};
