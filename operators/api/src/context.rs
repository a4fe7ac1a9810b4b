//! What an operator may ask of its surroundings while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;

use crate::{Inputs, LazyDataset, OperatorError, Result};

/// Receives the progress of one node. Implemented by the engine.
pub trait ProgressSink: Send + Sync {
    /// A new phase begins: `unit` is what is counted (`rows`, `users`), `total` how many there will be, if known.
    fn begin(&self, unit: &str, total: Option<u64>);
    /// `n` more are done.
    fn advance(&self, n: u64);
    /// A line about the present state (`epoch 2/5, loss 6.21`).
    fn note(&self, text: &str);
}

/// Asks a running operator to stop: because somebody interrupted the run, or because its time is over.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    asked: Arc<AtomicBool>,
    limit: Option<(Instant, Duration)>,
}

impl Cancel {
    /// Asks everything that holds this flag to stop.
    pub fn cancel(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// The same flag for work that may take this long from now on.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Cancel {
            asked: Arc::clone(&self.asked),
            limit: Some((Instant::now(), limit)),
        }
    }

    /// Whether to stop.
    pub fn is_cancelled(&self) -> bool {
        self.check().is_err()
    }

    /// `Err(Cancelled)` if somebody asked, `Err(TimedOut)` if the time is over.
    pub fn check(&self) -> Result<()> {
        if self.asked.load(Ordering::Relaxed) {
            return Err(OperatorError::Cancelled);
        }
        match self.limit {
            Some((start, limit)) if start.elapsed() > limit => Err(OperatorError::TimedOut(limit)),
            _ => Ok(()),
        }
    }
}

/// What a task gets from the engine.
#[derive(Clone)]
pub struct Context {
    /// For progress bars and lines.
    pub progress: Arc<dyn ProgressSink>,
    /// To be asked often: at least a few times a second.
    pub cancel: Cancel,
    /// An empty folder of this task's own, on the file system of the store; it is deleted afterwards.
    pub temp: PathBuf,
    /// Where [`Context::scratch`] is.
    pub scratch: PathBuf,
    /// A DataFusion session with every function that pipelines may use.
    pub session: SessionContext,
    /// To wait for futures: tasks run on a thread of their own, where blocking is allowed.
    pub runtime: tokio::runtime::Handle,
    /// How many threads the task may use.
    pub threads: usize,
}

impl Context {
    /// A path for a new file in the temporary folder.
    pub fn temp_file(&self, name: &str) -> PathBuf {
        self.temp.join(name)
    }

    /// A folder for unfinished work that is worth keeping (the state of training after each epoch): it belongs to
    /// exactly this work (operator, configuration, inputs), outlives a failure or a kill, and is removed when the work
    /// is published. It is empty unless an earlier attempt left something and the run was asked to resume. What is
    /// written must appear whole (write, sync, rename); what is found must lead to the same result, byte for byte, as
    /// starting anew.
    pub fn scratch(&self) -> Result<&Path> {
        std::fs::create_dir_all(&self.scratch).map_err(OperatorError::io(&self.scratch))?;
        Ok(&self.scratch)
    }

    /// The temporary folder.
    pub fn temp(&self) -> &Path {
        &self.temp
    }
}

/// What table operators and fits get from the engine.
#[derive(Clone)]
pub struct TableContext {
    /// The session that their plans are built in.
    pub session: SessionContext,
    /// To wait for futures where an API is only async.
    pub runtime: tokio::runtime::Handle,
}

/// What a fit gets from the engine.
pub struct FitContext<'a> {
    /// Everything that is connected; the rows to learn from are on the first port.
    pub inputs: &'a Inputs<LazyDataset>,
    /// An empty folder for what does not fit into memory and for what was learnt; it outlives the fit.
    pub temp: &'a Path,
    /// How many threads the fit may use.
    pub threads: usize,
}

/// What type propagation gets from the engine. Nothing but the schema of a source may be read.
#[derive(Clone)]
pub struct TypeContext {
    /// A session to plan SQL against schemas.
    pub session: SessionContext,
    /// Whether not even the schema of a source may be read, so that it must be declared.
    pub offline: bool,
}
