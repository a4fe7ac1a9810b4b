//! The job of a node: resolves it, makes what is missing, and checks what is expected of it.

use std::collections::BTreeMap;

use towline_api::{Form, OperatorError};

use crate::run::execute::fit::SharedScan;
use crate::run::execute::{ExecContext, WorkOutput, facts, sink, table, task};
use crate::run::expectations::{examine, unmet};
use crate::run::failure::Failure;
use crate::run::resolve::{Fitted, Resolver};
use crate::run::scheduler::attempts::JobControl;
use crate::run::scheduler::cache::{CacheDecision, InProgress, StoredOutput, WorkCache};
use crate::run::scheduler::log::SharedLog;
use crate::run::value::NodeValue;
use crate::run::work::{Entries, Role, Work, WorkItem};
use crate::store::Entry;
use crate::typing::NodeId;

/// How the jobs of a run do their work.
#[derive(Debug, Clone, Copy)]
pub(super) struct JobOptions {
    pub(super) threads: usize,
    pub(super) stop_at_unmet: bool,
    pub(super) resume: bool,
    pub(super) verify_determinism: bool,
}

/// What the jobs of a run share.
pub(super) struct Jobs {
    pub(super) cache: WorkCache,
    pub(super) options: JobOptions,
}

impl Jobs {
    /// The output of a node, checked against its expectations.
    pub(super) fn node(
        &self,
        id: NodeId,
        inputs: &[NodeValue],
        fitted: Option<&Fitted>,
        log: &SharedLog,
        control: &JobControl,
    ) -> Result<NodeValue, Failure> {
        log.note(|log| log.inputs.clear());
        let resolver = &self.cache.resolver;
        let mut entries = MadeEntries {
            jobs: self,
            log,
            control,
        };
        let value = resolver.output(id, inputs, fitted, &mut entries)?;
        let unknown = || OperatorError::internal("an entry that was made is not known");
        let value = value.ok_or_else(unknown)?;
        let metrics = log.note(|log| log.metrics.clone());
        let records = examine(&resolver.graph, id, &value, &metrics, &mut entries)?.unwrap_or_default();
        log.note(|log| log.expectations.clone_from(&records));
        if self.options.stop_at_unmet {
            unmet(&records)?;
        }
        Ok(value)
    }

    /// The entry of a work item: from the store, or made now.
    pub(super) fn entry(
        &self,
        item: WorkItem,
        work: Work<'_>,
        log: &SharedLog,
        control: &JobControl,
    ) -> Result<Entry, Failure> {
        let is_task = item.role == Role::Task;
        let entry = match self.cache.acquire(item, &control.stop, log)? {
            CacheDecision::Hit(entry) => entry,
            CacheDecision::Miss(taken) => {
                let output = self.make(&taken, work, control)?;
                if self.options.verify_determinism {
                    output.compare(&self.make(&taken, work, control)?)?;
                }
                self.cache.publish(taken, output, log)?
            }
        };
        if is_task {
            self.cache.store().scratch(&entry.key).clear()?;
        }
        Ok(entry)
    }

    fn make(&self, taken: &InProgress, work: Work<'_>, control: &JobControl) -> Result<StoredOutput, Failure> {
        let store = self.cache.store();
        let scratch = store.scratch(&taken.item.key());
        // Unfinished work counts only where the user asked for it.
        let resumed = self.options.resume && !self.options.verify_determinism;
        if taken.item.role == Role::Task && !resumed {
            scratch.clear()?;
        }
        let temp = store.temp_dir()?;
        let context = ExecContext {
            tables: &self.cache.resolver.tables,
            progress: &control.progress,
            stop: &control.stop,
            threads: self.options.threads,
            temp: temp.path(),
            scratch: scratch.path(),
        };
        self.cache.store_output(self.execute(&taken.item, work, &context)?)
    }

    /// Hands a work item to the executor of its form.
    fn execute(&self, item: &WorkItem, work: Work<'_>, context: &ExecContext<'_>) -> Result<WorkOutput, Failure> {
        let node = &self.cache.resolver.graph[item.node];
        match work {
            Work::Rows(lazy) => Ok(table::write(lazy, context)?.into()),
            Work::Facts(lazy, wanted) => Ok(facts::measure(lazy, wanted, context)?.into()),
            Work::Fit(request) => {
                let mut scan = SharedScan::default();
                let stateful = Resolver::stateful(node)?;
                let mut fit = scan.new_fit(stateful, request, context.temp, context.threads)?;
                scan.run(vec![&mut fit], context)?;
                Ok(fit.finish(context.temp)?.into())
            }
            Work::Task(inputs) => match node.form() {
                Form::Task(task) => task::run(task, inputs, context),
                Form::Sink(sink) => sink::publish(sink, inputs, context),
                _ => Err(OperatorError::internal("this operator is neither a task nor a sink").into()),
            },
        }
    }
}

/// Entries as a run gets them: what is missing is made.
struct MadeEntries<'a> {
    jobs: &'a Jobs,
    log: &'a SharedLog,
    control: &'a JobControl,
}

impl Entries for MadeEntries<'_> {
    fn entry(&mut self, item: WorkItem, work: Work<'_>) -> Result<Option<Entry>, Failure> {
        self.jobs.entry(item, work, self.log, self.control).map(Some)
    }

    fn note_input(&mut self, name: String, digest: String) {
        self.log.note(|log| log.inputs.push((name, digest)));
    }

    fn note_rows(&mut self, rows: Option<u64>) {
        self.log.note(|log| log.rows = rows);
    }
}

/// The logs of a run, by node.
pub(super) type Logs = BTreeMap<NodeId, SharedLog>;
