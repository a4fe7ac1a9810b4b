//! A run from its first event to its record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use towline_api::Cancel;

use crate::run::commit::commit;
use crate::run::events::Event;
use crate::run::lookup::Lookups;
use crate::run::options::RunOptions;
use crate::run::record::{NodeStatus, RECORD_VERSION, RunRecord, peak_memory};
use crate::run::resolve::Resolver;
use crate::run::scheduler::Scheduler;
use crate::run::scheduler::attempts::Attempts;
use crate::run::scheduler::cache::WorkCache;
use crate::run::scheduler::jobs::{JobOptions, Jobs};
use crate::run::scheduler::uploads::Uploads;
use crate::run::state::RunState;
use crate::run::value::NodeValue;
use crate::store::Store;
use crate::typing::{NodeId, TypedGraph};

/// What a run came to.
pub struct RunOutcome {
    /// Its record.
    pub record: RunRecord,
    /// The outputs of the nodes that finished.
    pub values: BTreeMap<NodeId, NodeValue>,
}

/// Runs a pipeline. What finished is in the store, whatever happens after it.
pub async fn run(graph: Arc<TypedGraph>, store: Store, options: RunOptions) -> RunOutcome {
    let events = options.events.clone();
    // A store that cannot be locked can be used all the same; it can only not be collected at the same time.
    let _in_use = store.lock_shared();
    let begun = store.begin_run(|id| started(graph.name(), id));
    let id = begun.unwrap_or_else(|error| {
        events.warn(format!("the run leaves no record: {error}"));
        String::new()
    });
    events.emit(&Event::RunStarted {
        run: id.clone(),
        pipeline: graph.name().to_owned(),
        nodes: graph.len(),
    });
    let outcome = work(graph, store.clone(), options, id).await;
    let record = &outcome.record;
    // A record that cannot be written is reported, but the work is done and stays done.
    if !record.id.is_empty()
        && let Err(error) = store.write_run(&record.id, record)
    {
        events.warn(format!("the run record was not written: {error}"));
    }
    events.emit(&Event::RunEnded {
        run: record.id.clone(),
        seconds: record.seconds,
        interrupted: record.interrupted,
        ran: record.count(NodeStatus::Ran),
        reused: record.count(NodeStatus::Reused),
        failed: record.count(NodeStatus::Failed),
    });
    outcome
}

/// The record of a run that has not ended: if it is killed, it stays.
fn started(pipeline: &str, id: &str) -> RunRecord {
    RunRecord {
        version: RECORD_VERSION,
        id: id.to_owned(),
        pipeline: pipeline.to_owned(),
        started: now(),
        seconds: 0.0,
        peak_memory: None,
        interrupted: true,
        commit: None,
        nodes: Vec::new(),
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

async fn work(graph: Arc<TypedGraph>, store: Store, options: RunOptions, id: String) -> RunOutcome {
    let (start, started) = (Instant::now(), now());
    let token = options.cancel.clone();
    let cancel = Cancel::default();
    let operators = cancel.clone();
    let interrupted = token.clone();
    let passed_on = tokio::spawn(async move {
        interrupted.cancelled().await;
        operators.cancel();
    });
    let mut scheduler = scheduler(&graph, store, &options, cancel);
    scheduler.run().await;
    let mut record = RunRecord {
        version: RECORD_VERSION,
        id,
        pipeline: graph.name().to_owned(),
        started,
        seconds: start.elapsed().as_secs_f64(),
        peak_memory: peak_memory(),
        interrupted: token.is_cancelled(),
        commit: std::env::current_dir().ok().and_then(|folder| commit(&folder)),
        nodes: graph.ids().map(|id| scheduler.record(id)).collect(),
    };
    tokio::select! {
        () = scheduler.jobs.cache.uploads.finished() => {}
        () = scheduler.attempts.grace_is_over() => {}
    }
    passed_on.abort();
    record.interrupted |= token.is_cancelled();
    RunOutcome {
        record,
        values: scheduler.state.into_values(),
    }
}

fn scheduler(graph: &Arc<TypedGraph>, store: Store, options: &RunOptions, cancel: Cancel) -> Scheduler {
    let lookups = Lookups {
        graph: Arc::clone(graph),
        store: store.clone(),
        selection: options.selection.clone(),
        events: options.events.clone(),
        runtime: tokio::runtime::Handle::current(),
        cancel: cancel.clone(),
    };
    let jobs = Jobs {
        cache: WorkCache {
            resolver: Resolver::new(Arc::clone(graph), store),
            lookups,
            uploads: Uploads::default(),
        },
        options: JobOptions {
            threads: options.threads,
            stop_at_unmet: options.stop_at_unmet,
            resume: options.resume,
            verify_determinism: options.verify_determinism,
        },
    };
    Scheduler {
        graph: Arc::clone(graph),
        jobs: Arc::new(jobs),
        attempts: Attempts {
            clock: Arc::clone(&options.clock),
            token: options.cancel.clone(),
            cancel,
            events: options.events.clone(),
        },
        at_once: options.jobs.max(1),
        state: RunState::new(Arc::clone(graph), options.selection.clone()),
        started: BTreeSet::new(),
        logs: BTreeMap::new(),
        seconds: BTreeMap::new(),
        failed_fits: BTreeMap::new(),
    }
}
