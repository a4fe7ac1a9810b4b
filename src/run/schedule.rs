//! The scheduler: what is ready runs, as many at once as `jobs` allows; what depends on a failure is skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use tokio::task::JoinSet;
use towline_operators::contract::{Cancel, Device, OperatorError, State};

use super::commit::commit;
use super::fits::Fitted;
use super::progress::Progress;
use super::record::{NodeRecord, NodeStatus, RECORD_VERSION, RunRecord, peak_memory};
use super::runner::{Failure, Runner, Work};
use super::value::NodeValue;
use crate::pipeline::Pipeline;
use crate::plan::{Origin, TypedNode};
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
    Fits(Fitted, f64),
}

/// Nodes whose fits can share a scan: the node that made their rows, the split that was selected, the split to fit on.
type FitKey = (usize, Option<String>, String);

/// How a node ended, why, and how long it took.
#[derive(Clone)]
struct Ended {
    status: NodeStatus,
    reason: String,
    seconds: f64,
}

impl Ended {
    fn at_once(status: NodeStatus, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Ended {
            status,
            reason,
            seconds: 0.0,
        }
    }
}

struct Schedule {
    runner: Arc<Runner>,
    options: RunOptions,
    values: Vec<Option<NodeValue>>,
    states: BTreeMap<usize, (State, Origin)>,
    ended: BTreeMap<usize, Ended>,
    started: BTreeSet<usize>,
    fit_seconds: BTreeMap<usize, f64>,
}

/// Runs a pipeline whose every node has a type. What finished is in the store, whatever happens after it.
pub async fn run(pipeline: Pipeline, nodes: Vec<TypedNode>, store: Store, options: RunOptions) -> RunRecord {
    let runner = Arc::new(Runner::new(pipeline, nodes, store, &options, false));
    let progress = options.progress.clone();
    // A store that cannot be locked can be used all the same; it can only not be collected at the same time.
    let _in_use = runner.store.use_it();
    let id = runner.store.next_run_id().unwrap_or_default();
    let record = go(Arc::clone(&runner), options, id).await;
    // A record that cannot be written is told, but the work is done and stays done.
    if let Err(error) = runner.store.write_run(&record.id, &record) {
        progress.line(&format!("warning: the run record was not written: {error}"));
    }
    record
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
    };
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
    async fn work(&mut self) {
        let mut jobs = JoinSet::new();
        loop {
            self.start_ready(&mut jobs);
            let Some(done) = jobs.join_next().await else { return };
            match done {
                Ok(Done::Node(node, result, seconds)) => self.end(node, result, seconds),
                Ok(Done::Fits(fits, seconds)) => self.fitted(fits, seconds),
                // Jobs catch their panics and are never aborted.
                Err(error) => self.options.progress.line(&format!("a job was lost: {error}")),
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
        let progress = self.options.progress.node(runner.name(node));
        jobs.spawn_blocking(move || {
            let start = Instant::now();
            let result = guarded(|| runner.node(node, &inputs, state, &progress));
            Done::Node(node, result.and_then(|result| result), start.elapsed().as_secs_f64())
        });
    }

    fn start_fits(&self, jobs: &mut JoinSet<Done>, members: Vec<(usize, Vec<NodeValue>)>) {
        let runner = Arc::clone(&self.runner);
        let names: Vec<&str> = members.iter().map(|(node, _)| runner.name(*node)).collect();
        let progress = self.options.progress.node(&format!("fit {}", names.join(", ")));
        jobs.spawn_blocking(move || {
            let start = Instant::now();
            let fits = guarded(|| runner.fit(&members, progress.as_ref())).unwrap_or_else(|failure| {
                let text = failure.to_string();
                let broken = |(node, _): &(usize, Vec<NodeValue>)| (*node, Err(Failure::Panic(text.clone())));
                members.iter().map(broken).collect()
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
                Err(failure) => self.end(node, Err(failure), 0.0),
            }
        }
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
                .is_some_and(|ended| matches!(ended.status, NodeStatus::Failed | NodeStatus::Skipped))
        });
        if let Some(&broken) = broken {
            let reason = format!("`{}` did not finish", self.runner.name(broken));
            self.ended.insert(node, Ended::at_once(NodeStatus::Skipped, reason));
            return false;
        }
        let unplanned = needs
            .iter()
            .find(|need| self.values[**need].is_none() && self.ended.contains_key(need));
        if let Some(&need) = unplanned.filter(|_| self.runner.plan_only) {
            let reason = format!("`{}` would run", self.runner.name(need));
            self.ended.insert(node, Ended::at_once(NodeStatus::Ran, reason));
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
        let seconds = seconds + self.fit_seconds.get(&node).copied().unwrap_or_default();
        let work = self.runner.work_of(node);
        let (status, reason) = match result {
            Ok(value) => {
                self.values[node] = Some(value);
                if work.ran {
                    (NodeStatus::Ran, work.reason)
                } else if work.reused {
                    (NodeStatus::Reused, String::new())
                } else {
                    (NodeStatus::Fused, String::new())
                }
            }
            Err(Failure::WouldRun(reason)) => (NodeStatus::Ran, reason),
            Err(Failure::Operator(OperatorError::Cancelled)) => (NodeStatus::Skipped, "interrupted".to_owned()),
            Err(failure) => (NodeStatus::Failed, failure.to_string()),
        };
        if !self.runner.plan_only {
            let name = self.runner.name(node);
            match status {
                NodeStatus::Ran => self
                    .options
                    .progress
                    .line(&format!("  ran     {name} ({seconds:.1} s)")),
                NodeStatus::Reused | NodeStatus::Fused => {}
                NodeStatus::Failed => self.options.progress.line(&format!("  FAILED  {name}: {reason}")),
                NodeStatus::Skipped => self.options.progress.line(&format!("  skipped {name}: {reason}")),
            }
        }
        self.ended.insert(
            node,
            Ended {
                status,
                reason,
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
        } = self.ended.get(&index).cloned().unwrap_or_else(interrupted);
        let Work {
            rows,
            metrics,
            report,
            inputs,
            keys,
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
        }
    }
}

/// The result of an operator's work; a panic in it is a failure of the node and of nothing else.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    // What the work shares with other nodes is behind locks whose poison is ignored, and every change under them is
    // complete on its own.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Failure::Panic(text.unwrap_or_else(|| "it did not say why".to_owned()))
    })
}
