//! The scheduler: what is ready runs, as many at once as `jobs` allows; what depends on a failure is skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use tokio::task::JoinSet;
use towline_operators::contract::{Cancel, Device, OperatorError, State};

use super::execute::{Failure, NodeValue, Runner, Work};
use super::progress::Progress;
use super::record::{NodeRecord, NodeStatus, RECORD_VERSION, RunRecord, peak_memory};
use crate::pipeline::Pipeline;
use crate::plan::TypedNode;
use crate::store::Store;

/// How to run.
#[derive(Clone)]
pub struct RunOptions {
    /// How many nodes may run at once.
    pub jobs: usize,
    /// How many threads a node may use.
    pub threads: usize,
    /// Where tensors live.
    pub device: Device,
    /// Stops the run.
    pub cancel: Cancel,
    /// Shows the run.
    pub progress: Progress,
}

/// The end of a job: a node's value, or the states of nodes that learnt together.
enum Done {
    Node(usize, Result<NodeValue, Failure>, f64),
    Fits(Vec<(usize, Result<(State, String), Failure>)>, f64),
}

struct Schedule {
    runner: Arc<Runner>,
    options: RunOptions,
    values: Vec<Option<NodeValue>>,
    states: BTreeMap<usize, (State, String)>,
    ended: BTreeMap<usize, (NodeStatus, String, f64)>,
    started: BTreeSet<usize>,
    fitting: BTreeSet<usize>,
    seconds: BTreeMap<usize, f64>,
}

/// Runs a pipeline whose every node has a type. What finished is in the store, whatever happens after it.
pub async fn run(pipeline: Pipeline, nodes: Vec<TypedNode>, store: Store, options: RunOptions) -> RunRecord {
    go(pipeline, nodes, store, options, false).await
}

/// What a run would do, without doing it: `Reused`, or `Ran` with the reason. Fits in the store that only need
/// applying are applied; nothing is written.
pub async fn plan(pipeline: Pipeline, nodes: Vec<TypedNode>, store: Store, options: RunOptions) -> RunRecord {
    go(pipeline, nodes, store, options, true).await
}

async fn go(
    pipeline: Pipeline,
    nodes: Vec<TypedNode>,
    store: Store,
    options: RunOptions,
    plan_only: bool,
) -> RunRecord {
    let start = Instant::now();
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let count = nodes.len();
    let runner = Arc::new(Runner {
        pipeline,
        nodes,
        store,
        session: super::execute::session(),
        runtime: tokio::runtime::Handle::current(),
        cancel: options.cancel.clone(),
        plan_only,
        threads: options.threads,
        device: options.device,
        work: Mutex::default(),
    });
    let mut schedule = Schedule {
        runner: Arc::clone(&runner),
        options,
        values: vec![None; count],
        states: BTreeMap::new(),
        ended: BTreeMap::new(),
        started: BTreeSet::new(),
        fitting: BTreeSet::new(),
        seconds: BTreeMap::new(),
    };
    schedule.work().await;
    let mut record = schedule.record(started, start.elapsed().as_secs_f64());
    if !plan_only {
        // A record that cannot be written is told, but the work is done and stays done.
        if let Err(error) = runner.store.write_run(&record.id, &record) {
            let warning = format!("warning: the run record was not written: {error}");
            schedule.options.progress.line(&warning);
        }
        record.interrupted = schedule.options.cancel.is_cancelled();
    }
    record
}

impl Schedule {
    async fn work(&mut self) {
        let mut jobs = JoinSet::new();
        loop {
            self.start_ready(&mut jobs);
            let Some(done) = jobs.join_next().await else { return };
            match done {
                Ok(Done::Node(node, result, seconds)) => self.end(node, result, seconds),
                Ok(Done::Fits(fits, seconds)) => {
                    for (node, result) in fits {
                        self.fitting.remove(&node);
                        self.seconds.insert(node, seconds);
                        match result {
                            Ok(state) => {
                                self.states.insert(node, state);
                                self.started.remove(&node);
                            }
                            Err(failure) => self.end(node, Err(failure), 0.0),
                        }
                    }
                }
                // A job that panicked is a defect of an operator; the nodes it stood for stay unfinished and are told
                // as failed in the record.
                Err(error) => self.options.progress.line(&format!("a node broke down: {error}")),
            }
        }
    }

    fn start_ready(&mut self, jobs: &mut JoinSet<Done>) {
        let order = self.runner.pipeline.order.clone();
        let mut groups: BTreeMap<(usize, Option<String>, String), Vec<(usize, Vec<NodeValue>)>> = BTreeMap::new();
        for node in order {
            if jobs.len() >= self.options.jobs.max(1) || self.options.cancel.is_cancelled() {
                break;
            }
            if self.started.contains(&node) || self.ended.contains_key(&node) || !self.is_ready(node) {
                continue;
            }
            let inputs = self.inputs(node);
            let key = self
                .runner
                .fit_key(node, &inputs)
                .filter(|_| !self.states.contains_key(&node));
            self.started.insert(node);
            if let Some(key) = key {
                let connected = self.runner.connected(node, &inputs);
                groups.entry(key).or_default().push((node, connected));
                continue;
            }
            let state = self.states.get(&node).cloned();
            self.spawn(jobs, node, inputs, state);
        }
        for members in groups.into_values() {
            self.fitting.extend(members.iter().map(|(node, _)| *node));
            let runner = Arc::clone(&self.runner);
            let names: Vec<&str> = members
                .iter()
                .map(|(n, _)| self.runner.pipeline.nodes[*n].name.as_str())
                .collect();
            let progress = self.options.progress.node(&format!("fit {}", names.join(", ")));
            jobs.spawn_blocking(move || {
                let start = Instant::now();
                let fits = runner.fit(&members, progress.as_ref());
                Done::Fits(fits, start.elapsed().as_secs_f64())
            });
        }
    }

    fn spawn(&self, jobs: &mut JoinSet<Done>, node: usize, inputs: Vec<NodeValue>, state: Option<(State, String)>) {
        let runner = Arc::clone(&self.runner);
        let progress = self.options.progress.node(&self.runner.pipeline.nodes[node].name);
        jobs.spawn_blocking(move || {
            let start = Instant::now();
            let result = runner.node(node, &inputs, state, &progress);
            Done::Node(node, result, start.elapsed().as_secs_f64())
        });
    }

    fn needs(&self, node: usize) -> Vec<usize> {
        let graph = &self.runner.pipeline.graph;
        graph
            .neighbors_directed(NodeIndex::new(node), Direction::Incoming)
            .map(NodeIndex::index)
            .collect()
    }

    /// Whether all that it needs is done. A node behind a failure is ended here.
    fn is_ready(&mut self, node: usize) -> bool {
        let needs = self.needs(node);
        let broken = needs.iter().find(|need| {
            self.ended
                .get(need)
                .is_some_and(|(status, ..)| matches!(status, NodeStatus::Failed | NodeStatus::Skipped))
        });
        if let Some(&broken) = broken {
            let reason = format!("`{}` did not finish", self.runner.pipeline.nodes[broken].name);
            self.ended.insert(node, (NodeStatus::Skipped, reason, 0.0));
            return false;
        }
        let unplanned = needs
            .iter()
            .find(|need| self.values[**need].is_none() && self.ended.contains_key(need));
        if let Some(&need) = unplanned.filter(|_| self.runner.plan_only) {
            let reason = format!("`{}` would run", self.runner.pipeline.nodes[need].name);
            self.ended.insert(node, (NodeStatus::Ran, reason, 0.0));
            return false;
        }
        needs.iter().all(|need| self.values[*need].is_some())
    }

    fn inputs(&self, node: usize) -> Vec<NodeValue> {
        let references = self.runner.pipeline.nodes[node].inputs.references();
        references
            .iter()
            .filter_map(|reference| self.values[reference.node].clone())
            .collect()
    }

    fn end(&mut self, node: usize, result: Result<NodeValue, Failure>, seconds: f64) {
        let seconds = seconds + self.seconds.get(&node).copied().unwrap_or_default();
        let work = self.work_of(node);
        let name = self.runner.pipeline.nodes[node].name.clone();
        let (status, reason) = match result {
            Ok(value) => {
                self.values[node] = Some(value);
                if work.ran {
                    (NodeStatus::Ran, work.reason)
                } else {
                    (NodeStatus::Reused, String::new())
                }
            }
            Err(Failure::WouldRun(reason)) => (NodeStatus::Ran, reason),
            Err(Failure::Operator(OperatorError::Cancelled)) => (NodeStatus::Skipped, "interrupted".to_owned()),
            Err(failure) => (NodeStatus::Failed, failure.to_string()),
        };
        if !self.runner.plan_only {
            match status {
                NodeStatus::Ran => self
                    .options
                    .progress
                    .line(&format!("  ran     {name} ({seconds:.1} s)")),
                NodeStatus::Reused => {}
                NodeStatus::Failed => self.options.progress.line(&format!("  FAILED  {name}: {reason}")),
                NodeStatus::Skipped => self.options.progress.line(&format!("  skipped {name}: {reason}")),
            }
        }
        self.ended.insert(node, (status, reason, seconds));
    }

    fn work_of(&self, node: usize) -> Work {
        let work = self.runner.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.get(&node).cloned().unwrap_or_default()
    }

    fn record(&self, started: u64, seconds: f64) -> RunRecord {
        let pipeline = &self.runner.pipeline;
        let mut nodes = Vec::new();
        for (index, node) in pipeline.nodes.iter().enumerate() {
            let unfinished = || {
                let cancelled = self.options.cancel.is_cancelled();
                let broke = self.started.contains(&index) && !cancelled;
                let status = if broke { NodeStatus::Failed } else { NodeStatus::Skipped };
                let reason = if broke {
                    "the operator broke down"
                } else {
                    "interrupted"
                };
                (status, reason.to_owned(), 0.0)
            };
            let (status, reason, seconds) = self.ended.get(&index).cloned().unwrap_or_else(unfinished);
            let Work {
                rows, metrics, report, ..
            } = self.work_of(index);
            let (name, operator) = (node.name.clone(), node.op.value.clone());
            nodes.push(NodeRecord {
                name,
                operator,
                status,
                reason,
                seconds,
                rows,
                metrics,
                report,
            });
        }
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        RunRecord {
            version: RECORD_VERSION,
            id: format!("{nanos:020}"),
            pipeline: pipeline.name.clone(),
            started,
            seconds,
            peak_memory: peak_memory(),
            interrupted: self.options.cancel.is_cancelled(),
            nodes,
        }
    }
}
