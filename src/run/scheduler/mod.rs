//! The scheduler: decides on each job when what it needs is known, and runs as many at once as `jobs` allows. What depends
//! on a failure is skipped, unless it does without. Only the scheduler uses the store, its locks, and uploads.

mod attempts;
mod cache;
mod fits;
mod jobs;
mod log;
mod outcome;
mod run;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::plan::{Awaited, Decision, JobId};
use crate::run::events::Event;
use crate::run::failure::Failure;
use crate::run::record::NodeStatus;
use crate::run::resolve::Resolver;
use crate::run::scheduler::attempts::Attempts;
use crate::run::scheduler::fits::{FitResults, ScanKey};
use crate::run::scheduler::jobs::{Jobs, Logs};
use crate::run::scheduler::log::SharedLog;
use crate::run::state::RunState;
use crate::run::value::NodeValue;
use crate::typing::{NodeId, TypedGraph};

pub use attempts::{Clock, SystemClock};
pub use run::{RunOutcome, run};

/// The end of a job.
enum Done {
    /// The value of a node.
    Node(NodeId, Result<NodeValue, Failure>, f64),
    /// What nodes have learnt in one scan.
    Fits(FitResults, f64),
}

/// A run as it goes on.
struct Scheduler {
    graph: Arc<TypedGraph>,
    jobs: Arc<Jobs>,
    attempts: Attempts,
    at_once: usize,
    state: RunState,
    started: BTreeSet<JobId>,
    logs: Logs,
    /// How long the jobs of each node took.
    seconds: BTreeMap<NodeId, f64>,
    /// How often the fit of a node has failed.
    failed_fits: BTreeMap<NodeId, u32>,
}

impl Scheduler {
    async fn run(&mut self) {
        let mut running = JoinSet::new();
        let attempts = self.attempts.clone();
        let grace_is_over = attempts.grace_is_over();
        tokio::pin!(grace_is_over);
        loop {
            self.start_ready(&mut running);
            let done = tokio::select! {
                done = running.join_next() => done,
                // Operators that do not listen end with the process. What they have not finished has no name in the store.
                () = &mut grace_is_over => return running.detach_all(),
            };
            match done {
                None => return,
                Some(Ok(Done::Node(node, result, seconds))) => self.end(node, result, seconds),
                Some(Ok(Done::Fits(fits, seconds))) => self.fitted(fits, seconds),
                // Jobs catch their panics and are never aborted.
                Some(Err(error)) => self.attempts.events.warn(format!("a job was lost: {error}")),
            }
        }
    }

    /// Starts what can be started: nodes one by one, and in one job each the fits that can share a scan.
    fn start_ready(&mut self, running: &mut JoinSet<Done>) {
        let mut scans: BTreeMap<ScanKey, Vec<NodeId>> = BTreeMap::new();
        for id in self.graph.order().to_vec() {
            if running.len() >= self.at_once || self.attempts.token.is_cancelled() {
                break;
            }
            let job = self.state.next_job(id);
            if self.started.contains(&job) || self.state.ended(id).is_some() {
                continue;
            }
            match self.state.decide(job, None) {
                Decision::Skip(reason) => self.state.end(id, NodeStatus::Skipped, reason),
                Decision::Pending(on) if on == [Awaited::Lookup] => {
                    self.started.insert(job);
                    match self.scan_key(job) {
                        Some(key) => scans.entry(key).or_default().push(id),
                        None => self.start_node(running, id),
                    }
                }
                _ => {}
            }
        }
        for members in scans.into_values() {
            self.start_fits(running, members);
        }
    }

    /// What a fit has in common with those that it can share a scan with.
    fn scan_key(&self, job: JobId) -> Option<ScanKey> {
        let node = &self.graph[job.node()];
        let stateful = Resolver::stateful(node).ok()?;
        matches!(job, JobId::Fit(_)).then(|| ScanKey::new(node, stateful))
    }

    fn start_node(&mut self, running: &mut JoinSet<Done>, id: NodeId) {
        let (jobs, attempts) = (Arc::clone(&self.jobs), self.attempts.clone());
        let (inputs, fitted) = (self.state.inputs(id), self.state.fitted(id).cloned());
        let log = self.logs.entry(id).or_default().clone();
        let (name, settings) = (self.graph[id].name.clone(), self.graph[id].settings.clone());
        attempts.events.emit(&Event::NodeStarted { node: name.clone() });
        running.spawn(async move {
            let start = Instant::now();
            let work = move |control: &_| jobs.node(id, &inputs, fitted.as_ref(), &log, control);
            let result = attempts.at(&name, &settings, work).await;
            Done::Node(id, result, start.elapsed().as_secs_f64())
        });
    }

    fn start_fits(&mut self, running: &mut JoinSet<Done>, nodes: Vec<NodeId>) {
        let (jobs, attempts) = (Arc::clone(&self.jobs), self.attempts.clone());
        let names: Vec<&str> = nodes.iter().map(|id| self.graph[*id].name.as_str()).collect();
        let shown = format!("fit {}", names.join(", "));
        let limit = nodes.iter().filter_map(|id| self.graph[*id].settings.timeout).min();
        let failed = nodes.iter().filter_map(|id| self.failed_fits.get(id)).max();
        let failed = failed.copied().unwrap_or_default();
        let members: Vec<_> = nodes.iter().map(|id| (*id, self.state.inputs(*id))).collect();
        let log = |id: &NodeId| (*id, self.logs.entry(*id).or_default().clone());
        let logs: Logs = nodes.iter().map(log).collect();
        running.spawn(async move {
            let start = Instant::now();
            let waited = if failed > 0 {
                attempts.back_off(failed).await
            } else {
                Ok(())
            };
            let fits = match waited {
                Ok(()) => {
                    let work = move |control: &_| Ok(jobs.fit(&members, &logs, control));
                    attempts.once(&shown, limit, work).await
                }
                Err(error) => Err(error.into()),
            };
            let fits = fits.unwrap_or_else(|failure| {
                let copies = |id| (id, Err(failure.copy()));
                nodes.into_iter().map(copies).collect()
            });
            Done::Fits(fits, start.elapsed().as_secs_f64())
        });
    }

    fn fitted(&mut self, fits: FitResults, seconds: f64) {
        for (id, result) in fits {
            match result {
                Ok(fitted) => {
                    self.seconds.insert(id, seconds);
                    self.state.set_fitted(id, fitted);
                }
                Err(failure) if failure.is_transient() && self.may_fit_again(id) => {
                    let name = &self.graph[id].name;
                    self.attempts
                        .events
                        .warn(format!("{name}: {failure}; it is tried again"));
                    self.started.remove(&JobId::Fit(id));
                }
                Err(failure) => self.end(id, Err(failure), seconds),
            }
        }
    }

    fn may_fit_again(&mut self, id: NodeId) -> bool {
        let failed = self.failed_fits.entry(id).or_default();
        *failed += 1;
        *failed <= self.graph[id].settings.retries
    }

    fn log(&self, id: NodeId) -> SharedLog {
        self.logs.get(&id).cloned().unwrap_or_default()
    }
}
