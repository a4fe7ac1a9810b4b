//! How a pipeline is run.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::plan::Selection;
use crate::run::events::Events;
use crate::run::scheduler::{Clock, SystemClock};

/// How to run.
#[derive(Clone)]
pub struct RunOptions {
    /// How many jobs may run at once.
    pub jobs: usize,
    /// How many threads a node may use.
    pub threads: usize,
    /// Stops the run.
    pub cancel: CancellationToken,
    /// What observes the run.
    pub events: Events,
    /// Whether what depends on a node is skipped if the node's expectations do not hold.
    pub stop_at_unmet: bool,
    /// Which nodes run.
    pub selection: Selection,
    /// Whether unfinished work that an earlier run left behind is resumed where it can be.
    pub resume: bool,
    /// Whether everything is made twice, and different bytes are a failure.
    pub verify_determinism: bool,
    /// What pauses and time limits are measured by.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOptions")
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        RunOptions {
            jobs: processors,
            threads: processors,
            cancel: CancellationToken::new(),
            events: Events::default(),
            stop_at_unmet: true,
            selection: Selection::default(),
            resume: false,
            verify_determinism: false,
            clock: Arc::new(SystemClock),
        }
    }
}
