//! Running a plan.

mod attempts;
mod commit;
mod expectations;
mod fits;
mod forms;
mod materialise;
mod options;
mod progress;
mod readiness;
mod record;
mod reuse;
mod runner;
mod schedule;
mod session;
mod sharing;
mod task;
mod transform;
mod value;

pub use expectations::ExpectationRecord;
pub use options::{Choices, RunOptions};
pub use progress::{Event, Progress, ProgressMode};
pub use record::{NodeRecord, NodeStatus, RECORD_VERSION, RunRecord};
pub use runner::{Failure, Work};
pub use schedule::{plan, run};
pub(crate) use session::session;
pub use transform::{TransformError, Transformer};
pub use value::{NodeValue, StoredDataset};
