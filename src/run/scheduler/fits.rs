//! Jobs that fit: siblings that learn from the same rows share one scan.

use std::collections::BTreeMap;
use std::time::Duration;

use tempfile::TempDir;
use towline_api::{OperatorError, Stateful};

use crate::run::execute::ExecContext;
use crate::run::execute::fit::{FitRequest, PendingFit, SharedScan};
use crate::run::failure::Failure;
use crate::run::resolve::{Fitted, Resolver};
use crate::run::scheduler::attempts::JobControl;
use crate::run::scheduler::cache::{CacheDecision, InProgress};
use crate::run::scheduler::jobs::{Jobs, Logs};
use crate::run::value::NodeValue;
use crate::run::work::{Work, WorkItem};
use crate::typing::{GraphNode, NodeId};

/// What fits have in common that share a scan: the node that made their rows, the split that was selected, and the split to
/// fit on. The time that they may take is part of it: no node is stopped because another one has less time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ScanKey {
    rows: NodeId,
    selected: Option<String>,
    fit_on: String,
    timeout: Option<Duration>,
}

impl ScanKey {
    pub(super) fn new(node: &GraphNode, stateful: &dyn Stateful) -> Self {
        ScanKey {
            rows: node.rows.node,
            selected: node.rows.split.clone(),
            fit_on: stateful.fit_on().to_owned(),
            timeout: node.settings.timeout,
        }
    }
}

/// The result of the fit of each node.
pub(super) type FitResults = Vec<(NodeId, Result<Fitted, Failure>)>;

/// A fit as a work item, with what it learns from.
type Requested = (WorkItem, FitRequest);

/// A fit that takes part in a scan.
struct AcquiredFit {
    node: NodeId,
    in_progress: InProgress,
    fit: PendingFit,
    temp: TempDir,
}

impl Jobs {
    /// Fits nodes whose inputs are columns of the same rows. Fits that are in the store are taken from there; the rest see
    /// every row of the split in one scan.
    pub(super) fn fit(&self, members: &[(NodeId, Vec<NodeValue>)], logs: &Logs, control: &JobControl) -> FitResults {
        let mut done: FitResults = Vec::new();
        let mut requests: BTreeMap<String, Vec<Requested>> = BTreeMap::new();
        for (node, inputs) in members {
            match self.cache.resolver.fit(*node, inputs) {
                Ok(request) => requests.entry(request.0.key()).or_default().push(request),
                Err(failure) => done.push((*node, Err(failure))),
            }
        }
        if self.options.verify_determinism {
            let alone = requests.into_values().flatten();
            done.extend(alone.map(|request| self.fit_alone(request, logs, control)));
            return done;
        }
        // Work is taken on in the order of its keys, so that two runs never wait for each other. Nodes that would learn the
        // same are one fit.
        let (mut taken, mut followers) = (Vec::new(), Vec::new());
        let mut scan = SharedScan::default();
        for same in requests.into_values() {
            let mut same = same.into_iter();
            let Some(first) = same.next() else { continue };
            let node = first.0.node;
            followers.extend(same.map(|(item, _)| (item, node)));
            match self.acquire_fit(first, &mut scan, logs, control) {
                Ok(Ok(fitted)) => done.push((node, Ok(fitted))),
                Ok(Err(fit)) => taken.push(fit),
                Err(failure) => done.push((node, Err(failure))),
            }
        }
        self.fit_together(taken, &scan, logs, control, &mut done);
        for (item, first) in followers {
            let failed = done.iter().find_map(|(node, result)| match result {
                Err(failure) if *node == first => Some(failure.copy()),
                _ => None,
            });
            done.push(self.follow(item, failed, logs, control));
        }
        done
    }

    fn fit_alone(
        &self,
        (item, request): Requested,
        logs: &Logs,
        control: &JobControl,
    ) -> (NodeId, Result<Fitted, Failure>) {
        let node = item.node;
        let entry = self.entry(item, Work::Fit(&request), &logs[&node], control);
        (node, entry.map(|entry| self.cache.resolver.state(node, &entry)))
    }

    /// What a fit has learnt according to the store, or the fit that takes part in the scan.
    fn acquire_fit(
        &self,
        (item, request): Requested,
        scan: &mut SharedScan,
        logs: &Logs,
        control: &JobControl,
    ) -> Result<Result<Fitted, AcquiredFit>, Failure> {
        let node = item.node;
        let resolver = &self.cache.resolver;
        let in_progress = match self.cache.acquire(item, &control.stop, &logs[&node])? {
            CacheDecision::Hit(entry) => return Ok(Ok(resolver.state(node, &entry))),
            CacheDecision::Miss(in_progress) => in_progress,
        };
        let stateful = Resolver::stateful(&resolver.graph[node])?;
        let temp = self.cache.store().temp_dir()?;
        let fit = scan.new_fit(stateful, &request, temp.path(), self.options.threads)?;
        Ok(Err(AcquiredFit {
            node,
            in_progress,
            fit,
            temp,
        }))
    }

    fn fit_together(
        &self,
        mut taken: Vec<AcquiredFit>,
        scan: &SharedScan,
        logs: &Logs,
        control: &JobControl,
        done: &mut FitResults,
    ) {
        let scanned = self.scan(&mut taken, scan, control);
        for fit in taken {
            let node = fit.node;
            let result = match &scanned {
                Ok(()) => self.finish_fit(fit, logs),
                Err(failure) => Err(failure.copy()),
            };
            done.push((node, result));
        }
    }

    fn scan(&self, taken: &mut [AcquiredFit], scan: &SharedScan, control: &JobControl) -> Result<(), Failure> {
        let nothing = std::path::Path::new("");
        let context = ExecContext {
            tables: &self.cache.resolver.tables,
            progress: &control.progress,
            stop: &control.stop,
            threads: self.options.threads,
            temp: nothing,
            scratch: nothing,
        };
        scan.run(taken.iter_mut().map(|taken| &mut taken.fit).collect(), &context)
    }

    fn finish_fit(&self, taken: AcquiredFit, logs: &Logs) -> Result<Fitted, Failure> {
        let node = taken.node;
        let output = taken.fit.finish(taken.temp.path())?;
        let output = self.cache.store_output(output.into())?;
        let entry = self.cache.publish(taken.in_progress, output, &logs[&node])?;
        Ok(self.cache.resolver.state(node, &entry))
    }

    /// The fit of a node that learns the same as another one that has just been fitted, or has `failed`: then it fails alike,
    /// so that both are retried or neither.
    fn follow(
        &self,
        item: WorkItem,
        failed: Option<Failure>,
        logs: &Logs,
        control: &JobControl,
    ) -> (NodeId, Result<Fitted, Failure>) {
        let node = item.node;
        let fitted =
            match self.cache.acquire(item, &control.stop, &logs[&node]) {
                Ok(CacheDecision::Hit(entry)) => Ok(self.cache.resolver.state(node, &entry)),
                Ok(CacheDecision::Miss(_)) => Err(failed
                    .unwrap_or_else(|| OperatorError::invalid("a node that learns the same did not finish").into())),
                Err(failure) => Err(failure),
            };
        (node, fitted)
    }
}
