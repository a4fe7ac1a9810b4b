//! What the jobs of a run share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::prelude::SessionContext;
use towline_api::{Cancel, OperatorError, ProgressSink, Report};

use crate::config::Pipeline;
use crate::plan::{Placement, placements};
use crate::run::expectations::ExpectationRecord;
use crate::run::options::Choices;
use crate::run::progress::{Event, Progress};
use crate::store::{SourceFile, Store, StoreError};
use crate::typing::TypedNode;

/// Why a node has no output.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The operator failed.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Only a plan was asked for, and the node would run.
    #[error("{0}")]
    WouldRun(String),
    /// Its output is not what was expected of it.
    #[error("{unmet} of {of} expectations do not hold")]
    Unmet {
        /// How many do not hold.
        unmet: usize,
        /// How many there are.
        of: usize,
    },
    /// The operator panicked.
    #[error("the operator broke down, which is a defect of it: {0}")]
    Panic(String),
}

impl Failure {
    /// The same failure for another node; what cannot be copied is told by its text.
    pub(super) fn copy(&self) -> Failure {
        match self {
            Failure::Operator(error) => error.reworded(|text| text).into(),
            // Not one to retry, as the original is not.
            Failure::Store(error) => OperatorError::invalid(error.to_string()).into(),
            Failure::WouldRun(reason) => Failure::WouldRun(reason.clone()),
            Failure::Unmet { unmet, of } => Failure::Unmet { unmet: *unmet, of: *of },
            Failure::Panic(text) => Failure::Panic(text.clone()),
        }
    }
}

/// What was done for a node.
#[derive(Clone, Default)]
pub struct Work {
    /// Whether anything ran.
    pub ran: bool,
    /// Whether anything came out of the store.
    pub reused: bool,
    /// Whether anything came from the shared store.
    pub fetched: bool,
    /// Why it ran, in words.
    pub reason: String,
    /// Digests of what was connected: by node, or by path for the files of a source.
    pub inputs: Vec<(String, String)>,
    /// The keys of what was made and reused.
    pub keys: Vec<String>,
    /// Rows of the output, where they were counted.
    pub rows: Option<u64>,
    /// Its metrics.
    pub metrics: BTreeMap<String, f64>,
    /// What a person wants to see.
    pub report: Report,
    /// What became of its expectations, where they were checked.
    pub expectations: Vec<ExpectationRecord>,
}

/// Brings outputs about. SharedStore by all threads of a run.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Runner {
    pub(super) pipeline: Pipeline,
    pub(super) nodes: Vec<TypedNode>,
    pub(super) store: Store,
    pub(super) session: SessionContext,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) cancel: Cancel,
    pub(super) plan_only: bool,
    pub(super) stop_at_unmet: bool,
    pub(super) threads: usize,
    pub(super) placements: Vec<Placement>,
    pub(super) choices: Choices,
    pub(super) resume: bool,
    pub(super) verify_determinism: bool,
    pub(super) progress: Progress,
    sources: Mutex<Vec<SourceFile>>,
    work: Mutex<BTreeMap<usize, Work>>,
    /// How many entries are given to the shared store at once.
    pub(super) turns: Arc<tokio::sync::Semaphore>,
    pub(super) uploads: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl Runner {
    pub(super) fn new(
        pipeline: Pipeline,
        nodes: Vec<TypedNode>,
        store: Store,
        options: &crate::run::RunOptions,
        plan_only: bool,
    ) -> Self {
        Runner {
            placements: placements(&pipeline, &nodes),
            choices: options.choices.clone(),
            resume: options.resume,
            verify_determinism: options.verify_determinism && !plan_only,
            progress: options.progress.clone(),
            sources: Mutex::default(),
            pipeline,
            nodes,
            store,
            session: crate::run::session(),
            runtime: tokio::runtime::Handle::current(),
            cancel: options.cancel.clone(),
            plan_only,
            stop_at_unmet: options.stop_at_unmet,
            threads: options.threads,
            work: Mutex::default(),
            turns: Arc::new(tokio::sync::Semaphore::new(4)),
            uploads: Mutex::default(),
        }
    }

    /// Takes down something about what was done for a node.
    pub(super) fn note(&self, node: usize, change: impl FnOnce(&mut Work)) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        change(work.entry(node).or_default());
    }

    /// What was done for a node so far.
    pub(super) fn work_of(&self, node: usize) -> Work {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.get(&node).cloned().unwrap_or_default()
    }

    /// Tells something that a person should know though nothing failed.
    pub(super) fn warn(&self, text: &str) {
        self.progress.tell(&Event::Warning { text });
    }

    /// Tells what happens now.
    pub(super) fn tell(&self, event: &Event<'_>) {
        self.progress.tell(event);
    }

    /// Progress for one node.
    pub(super) fn progress_of(&self, name: &str) -> Arc<dyn ProgressSink> {
        self.progress.node(name)
    }

    /// From now on, a change of this file is an error.
    pub(super) fn watch(&self, file: SourceFile) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(file);
    }

    /// An error if a file changed that a node of this run has read, or may be reading.
    pub(super) fn check_sources(&self) -> Result<(), StoreError> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.iter().try_for_each(SourceFile::check)
    }

    /// The name of a node.
    pub(super) fn name(&self, node: usize) -> &str {
        &self.pipeline.nodes[node].name
    }
}
