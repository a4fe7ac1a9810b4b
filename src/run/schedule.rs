//! The scheduler: what is ready runs, as many at once as `jobs` allows; what depends on a failure is skipped, unless it can
//! do without.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use towline_api::{Cancel, OperatorError, State};

use crate::config::Pipeline;
use crate::plan::Origin;
use crate::run::attempts::{GRACE, attempts, in_time, may_pass, pause, wait};
use crate::run::commit::commit;
use crate::run::fits::Fitted;
use crate::run::options::RunOptions;
use crate::run::progress::Event;
use crate::run::record::{NodeRecord, NodeStatus, RECORD_VERSION, RunRecord, peak_memory};
use crate::run::runner::{Failure, Runner, Work};
use crate::run::value::NodeValue;
use crate::store::Store;
use crate::typing::TypedNode;

/// The end of a job: a node's value, or the states of nodes that learnt together.
enum Done {
    Node(usize, Result<NodeValue, Failure>, f64),
    Fits(Fitted, f64),
}

/// Nodes whose fits can share a scan: the node that made their rows, the split that was selected, the split to fit on.
/// What may take how long is a part of it: no node is stopped because another was to be quick.
pub(super) type FitKey = (usize, Option<String>, String, Option<Duration>);

/// How a node ended, why, and how long it took.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) status: NodeStatus,
    pub(super) reason: String,
    /// Whether a failure is why it has no output: its own, or one of what it needed.
    pub(super) failed: bool,
    seconds: f64,
}

impl Ended {
    pub(super) fn at_once(status: NodeStatus, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Ended {
            status,
            reason,
            failed: false,
            seconds: 0.0,
        }
    }
}

/// How far a run is.
pub(super) struct Schedule {
    pub(super) runner: Arc<Runner>,
    options: RunOptions,
    pub(super) values: Vec<Option<NodeValue>>,
    states: BTreeMap<usize, (State, Origin)>,
    pub(super) ended: BTreeMap<usize, Ended>,
    started: BTreeSet<usize>,
    fit_seconds: BTreeMap<usize, f64>,
    /// How often the fit of a node has failed.
    failed_fits: BTreeMap<usize, u32>,
}

/// Runs a pipeline whose every node has a type. What finished is in the store, whatever happens after it.
pub async fn run(pipeline: Pipeline, nodes: Vec<TypedNode>, store: Store, options: RunOptions) -> RunRecord {
    let runner = Arc::new(Runner::new(pipeline, nodes, store, &options, false));
    let progress = options.progress.clone();
    // A store that cannot be locked can be used all the same; it can only not be collected at the same time.
    let _in_use = runner.store.lock_shared();
    let begun = runner.store.begin_run(|id| started(&runner.pipeline.name, id));
    let id = begun.unwrap_or_else(|error| {
        runner.warn(&format!("the run leaves no record: {error}"));
        String::new()
    });
    progress.tell(&Event::RunStarted {
        run: &id,
        pipeline: &runner.pipeline.name,
        nodes: runner.nodes.len(),
    });
    let cancel = options.cancel.clone();
    let mut record = go(Arc::clone(&runner), options, id).await;
    tokio::select! {
        () = runner.uploaded() => {}
        () = patience(&cancel) => {}
    }
    record.interrupted |= cancel.is_cancelled();
    // A record that cannot be written is told, but the work is done and stays done.
    if !record.id.is_empty()
        && let Err(error) = runner.store.write_run(&record.id, &record)
    {
        runner.warn(&format!("the run record was not written: {error}"));
    }
    progress.tell(&Event::RunEnded {
        run: &record.id,
        seconds: record.seconds,
        interrupted: record.interrupted,
        ran: record.count(NodeStatus::Ran),
        reused: record.count(NodeStatus::Reused),
        failed: record.count(NodeStatus::Failed),
    });
    record
}

/// The record of a run that has not ended: if it is killed, it stays.
fn started(pipeline: &str, id: &str) -> RunRecord {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RunRecord {
        version: RECORD_VERSION,
        id: id.to_owned(),
        pipeline: pipeline.to_owned(),
        started: since_1970.as_secs(),
        seconds: 0.0,
        peak_memory: None,
        interrupted: true,
        commit: None,
        nodes: Vec::new(),
    }
}

/// What a run would do, without doing it: `Reused`, or `Ran` with the reason. Fits in the store that only need
/// applying are applied; nothing is written.
pub async fn plan(pipeline: Pipeline, nodes: Vec<TypedNode>, store: Store, options: RunOptions) -> RunRecord {
    let runner = Arc::new(Runner::new(pipeline, nodes, store, &options, true));
    go(runner, options, String::new()).await
}

async fn go(runner: Arc<Runner>, options: RunOptions, id: String) -> RunRecord {
    let start = Instant::now();
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut schedule = Schedule {
        values: vec![None; runner.nodes.len()],
        runner,
        options,
        states: BTreeMap::new(),
        ended: BTreeMap::new(),
        started: BTreeSet::new(),
        fit_seconds: BTreeMap::new(),
        failed_fits: BTreeMap::new(),
    };
    schedule.leave_out();
    schedule.work().await;
    RunRecord {
        version: RECORD_VERSION,
        id,
        pipeline: schedule.runner.pipeline.name.clone(),
        started: since_1970.as_secs(),
        seconds: start.elapsed().as_secs_f64(),
        peak_memory: peak_memory(),
        interrupted: schedule.options.cancel.is_cancelled(),
        commit: std::env::current_dir().ok().and_then(|folder| commit(&folder)),
        nodes: (0..schedule.values.len()).map(|node| schedule.record(node)).collect(),
    }
}

impl Schedule {
    /// Ends the nodes that were not asked for.
    fn leave_out(&mut self) {
        for (&node, reason) in &self.runner.choices.left_out {
            self.ended.insert(node, Ended::at_once(NodeStatus::Skipped, reason));
        }
    }

    async fn work(&mut self) {
        let mut jobs = JoinSet::new();
        let cancel = self.options.cancel.clone();
        let out_of_patience = patience(&cancel);
        tokio::pin!(out_of_patience);
        loop {
            self.start_ready(&mut jobs);
            let done = tokio::select! {
                done = jobs.join_next() => done,
                // Operators that do not listen end with the process. What they have not finished has no name in the store.
                () = &mut out_of_patience => return jobs.detach_all(),
            };
            match done {
                None => return,
                Some(Ok(Done::Node(node, result, seconds))) => self.end(node, result, seconds),
                Some(Ok(Done::Fits(fits, seconds))) => self.fitted(fits, seconds),
                // Jobs catch their panics and are never aborted.
                Some(Err(error)) => self.runner.warn(&format!("a job was lost: {error}")),
            }
        }
    }

    /// Starts what can be started: nodes one by one, and in one job each the fits that can share a scan.
    fn start_ready(&mut self, jobs: &mut JoinSet<Done>) {
        let mut groups: BTreeMap<FitKey, Vec<(usize, Vec<NodeValue>)>> = BTreeMap::new();
        for node in self.runner.pipeline.order.clone() {
            if jobs.len() >= self.options.jobs.max(1) || self.options.cancel.is_cancelled() {
                break;
            }
            if self.started.contains(&node) || self.ended.contains_key(&node) || !self.is_ready(node) {
                continue;
            }
            self.started.insert(node);
            let inputs = self.inputs(node);
            let fit = self.runner.fit_key(node, &inputs);
            match fit.filter(|_| !self.states.contains_key(&node)) {
                Some(key) => {
                    let connected = self.runner.connected(node, &inputs);
                    groups.entry(key).or_default().push((node, connected));
                }
                None => self.start_node(jobs, node, inputs),
            }
        }
        for members in groups.into_values() {
            self.start_fits(jobs, members);
        }
    }

    fn start_node(&self, jobs: &mut JoinSet<Done>, node: usize, inputs: Vec<NodeValue>) {
        let runner = Arc::clone(&self.runner);
        let state = self.states.get(&node).cloned();
        self.options.progress.tell(&Event::NodeStarted {
            node: runner.name(node),
        });
        jobs.spawn(async move {
            let start = Instant::now();
            let work = move |runner: &Runner, job: &_| {
                let value = runner.node(node, &inputs, state.clone(), job)?;
                runner.examine(node, &value)?;
                Ok(value)
            };
            let result = attempts(&runner, node, work).await;
            Done::Node(node, result, start.elapsed().as_secs_f64())
        });
    }

    fn start_fits(&self, jobs: &mut JoinSet<Done>, members: Vec<(usize, Vec<NodeValue>)>) {
        let runner = Arc::clone(&self.runner);
        let nodes: Vec<usize> = members.iter().map(|(node, _)| *node).collect();
        let names: Vec<&str> = nodes.iter().map(|node| runner.name(*node)).collect();
        let shown = format!("fit {}", names.join(", "));
        let settings = nodes.iter().map(|node| &runner.pipeline.nodes[*node].settings);
        let limit = settings.filter_map(|settings| settings.timeout).min();
        let failed = nodes.iter().filter_map(|node| self.failed_fits.get(node)).max();
        let delay = failed.map_or(Duration::ZERO, |failed| pause(*failed));
        jobs.spawn(async move {
            let start = Instant::now();
            let fits = match wait(&runner.cancel, delay).await {
                Ok(()) => in_time(&runner, &shown, limit, move |runner, job| Ok(runner.fit(&members, job))).await,
                Err(error) => Err(error.into()),
            };
            let fits = fits.unwrap_or_else(|failure| {
                let copies = |node| (node, Err(failure.copy()));
                nodes.into_iter().map(copies).collect()
            });
            Done::Fits(fits, start.elapsed().as_secs_f64())
        });
    }

    /// Nodes that have learnt are ready once more: what they learnt is to be applied.
    fn fitted(&mut self, fits: Fitted, seconds: f64) {
        for (node, result) in fits {
            self.fit_seconds.insert(node, seconds);
            match result {
                Ok(state) => {
                    self.states.insert(node, state);
                    self.started.remove(&node);
                }
                Err(failure) if may_pass(&failure) && self.may_fit_again(node) => {
                    let name = self.runner.name(node);
                    self.runner.warn(&format!("{name}: {failure}; it is tried again"));
                    self.started.remove(&node);
                }
                Err(failure) => self.end(node, Err(failure), 0.0),
            }
        }
    }

    fn may_fit_again(&mut self, node: usize) -> bool {
        let failed = self.failed_fits.entry(node).or_default();
        *failed += 1;
        *failed <= self.runner.pipeline.nodes[node].settings.retries
    }

    fn end(&mut self, node: usize, result: Result<NodeValue, Failure>, seconds: f64) {
        let seconds = seconds + self.fit_seconds.get(&node).copied().unwrap_or_default();
        let work = self.runner.work_of(node);
        let (status, reason) = match result {
            Ok(value) => {
                self.values[node] = Some(value);
                if work.ran {
                    (NodeStatus::Ran, work.reason.clone())
                } else if work.reused {
                    let from = work.fetched.then(|| crate::run::sharing::FROM_SHARED.to_owned());
                    (NodeStatus::Reused, from.unwrap_or_default())
                } else {
                    (NodeStatus::Fused, String::new())
                }
            }
            Err(Failure::WouldRun(reason)) => (NodeStatus::Ran, reason),
            Err(Failure::Operator(OperatorError::Cancelled)) => (NodeStatus::Skipped, "interrupted".to_owned()),
            Err(failure) => (NodeStatus::Failed, failure.to_string()),
        };
        if !self.runner.plan_only {
            self.options.progress.tell(&Event::NodeEnded {
                node: self.runner.name(node),
                status,
                reason: &reason,
                seconds,
                rows: work.rows,
            });
        }
        self.ended.insert(
            node,
            Ended {
                status,
                reason,
                failed: status == NodeStatus::Failed,
                seconds,
            },
        );
    }

    fn record(&self, index: usize) -> NodeRecord {
        let node = &self.runner.pipeline.nodes[index];
        let interrupted = || Ended::at_once(NodeStatus::Skipped, "interrupted");
        let Ended {
            status,
            reason,
            seconds,
            ..
        } = self.ended.get(&index).cloned().unwrap_or_else(interrupted);
        let Work {
            rows,
            metrics,
            report,
            inputs,
            keys,
            expectations,
            ..
        } = self.runner.work_of(index);
        let value = self.values[index].as_ref();
        let typed = &self.runner.nodes[index];
        NodeRecord {
            name: node.name.clone(),
            operator: node.op.value.clone(),
            status,
            reason,
            seconds,
            rows,
            metrics,
            report,
            code: typed.descriptor.code_version,
            with: typed.built.cache_config.clone(),
            inputs,
            output: value.map(|value| value.origin().digest().to_owned()),
            receipt: value.and_then(NodeValue::receipt).cloned(),
            placement: self.runner.placements[index].to_string(),
            keys,
            expectations,
        }
    }
}

/// Ends some time after somebody interrupted the run.
async fn patience(cancel: &Cancel) {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    while !cancel.is_cancelled() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tokio::time::sleep(GRACE).await;
}
