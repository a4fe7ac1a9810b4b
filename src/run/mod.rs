//! Running a plan.

mod execute;
mod fits;
mod materialise;
mod progress;
mod record;
mod schedule;

pub(crate) use execute::session;
pub use execute::{Failure, NodeValue, Work};
pub use progress::{Progress, ProgressMode};
pub use record::{NodeRecord, NodeStatus, RunRecord};
pub use schedule::{RunOptions, plan, run};
