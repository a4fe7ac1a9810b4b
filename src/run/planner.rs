//! Makes the plan: resolves every node as far as the store knows what it needs, and writes nothing that a run depends on.

use std::collections::BTreeMap;
use std::sync::Arc;

use towline_api::Cancel;

use crate::plan::{Awaited, CacheState, Decision, ExpectationRecord, JobId, Plan, PlannedNode};
use crate::run::expectations::{examine, unmet};
use crate::run::failure::Failure;
use crate::run::lookup::Lookups;
use crate::run::options::RunOptions;
use crate::run::panics::guarded;
use crate::run::record::NodeStatus;
use crate::run::resolve::Resolver;
use crate::run::state::RunState;
use crate::run::work::{Entries, Role, Work, WorkItem};
use crate::store::{Entry, FetchScope, Store};
use crate::typing::{NodeId, TypedGraph};

/// What a run with these options would do, without doing it.
pub async fn plan(graph: Arc<TypedGraph>, store: Store, options: RunOptions) -> Result<Plan, Failure> {
    let runtime = tokio::runtime::Handle::current();
    let mut planner = Planner {
        lookups: Lookups {
            graph: Arc::clone(&graph),
            store: store.clone(),
            selection: options.selection.clone(),
            events: options.events,
            runtime,
            cancel: Cancel::default(),
        },
        resolver: Resolver::new(Arc::clone(&graph), store),
        state: RunState::new(graph, options.selection),
        stop_at_unmet: options.stop_at_unmet,
        planned: BTreeMap::new(),
    };
    // Digests of files are computed and operators are asked: that is work for a thread that may block.
    let planned = tokio::task::spawn_blocking(move || planner.plan());
    planned.await.map_err(|lost| Failure::Panic(lost.to_string()))
}

struct Planner {
    resolver: Resolver,
    lookups: Lookups,
    state: RunState,
    stop_at_unmet: bool,
    planned: BTreeMap<NodeId, PlannedNode>,
}

impl Planner {
    fn plan(&mut self) -> Plan {
        let graph = Arc::clone(&self.resolver.graph);
        for id in graph.order() {
            let node = self.node(*id);
            self.planned.insert(*id, node);
        }
        Plan {
            pipeline: graph.name().to_owned(),
            nodes: std::mem::take(&mut self.planned).into_values().collect(),
        }
    }

    fn node(&mut self, id: NodeId) -> PlannedNode {
        let graph = Arc::clone(&self.resolver.graph);
        let node = &graph[id];
        let fit = match self.state.next_job(id) {
            JobId::Fit(_) => Some(self.fit(id)),
            JobId::Node(_) => None,
        };
        let mut expectations = Vec::new();
        let decision = match &fit {
            Some(decision @ (Decision::Skip(_) | Decision::Fail(_))) => decision.clone(),
            _ => self.output(id, &mut expectations),
        };
        match &decision {
            Decision::Skip(_) if self.state.ended(id).is_some() => {}
            Decision::Skip(reason) => self.state.end(id, NodeStatus::Skipped, reason.clone()),
            Decision::Fail(reason) => self.state.end(id, NodeStatus::Failed, reason.clone()),
            _ => {}
        }
        let mut planned = PlannedNode {
            id,
            name: node.name.clone(),
            operator: node.descriptor.name.to_owned(),
            fit,
            decision,
            waiting: Vec::new(),
            placement: self.resolver.placements[&id].clone(),
            expectations,
        };
        if let Decision::Pending(on) = planned.overall() {
            planned.waiting = self.waiting(id, &on);
        }
        planned
    }

    /// Why a pending node waits: its own changes, and the first of what it waits for.
    fn waiting(&self, id: NodeId, on: &[Awaited]) -> Vec<String> {
        let graph = &self.resolver.graph;
        let mut waiting = self.lookups.own_changes(id);
        let first = on.iter().find_map(|awaited| match awaited {
            Awaited::Job(job) => Some(format!("`{}` would run", graph[job.node()].name)),
            Awaited::Lookup => None,
        });
        waiting.extend(first);
        waiting
    }

    /// The decision on the fit of a node.
    fn fit(&mut self, id: NodeId) -> Decision {
        let job = JobId::Fit(id);
        let ready = self.state.decide(job, None);
        if ready != Decision::Pending(vec![Awaited::Lookup]) {
            return ready;
        }
        let mut entries = FoundEntries::new(&self.lookups);
        let inputs = self.state.inputs(id);
        let found = guarded(|| {
            let (item, request) = self.resolver.fit(id, &inputs)?;
            entries.entry(item, Work::Fit(&request))
        });
        let states = entries.states;
        match found {
            Ok(entry) => {
                if let Some(entry) = entry {
                    self.state.set_fitted(id, self.resolver.state(id, &entry));
                }
                self.state.decide(job, Some(&states))
            }
            Err(failure) => Decision::Fail(failure.to_string()),
        }
    }

    /// The decision on all else of a node.
    fn output(&mut self, id: NodeId, expectations: &mut Vec<ExpectationRecord>) -> Decision {
        let job = JobId::Node(id);
        let ready = self.state.decide(job, None);
        if ready != Decision::Pending(vec![Awaited::Lookup]) {
            return ready;
        }
        let mut entries = FoundEntries::new(&self.lookups);
        let inputs = self.state.inputs(id);
        let mut value = None;
        let resolved = guarded(|| {
            value = self.resolver.output(id, &inputs, self.state.fitted(id), &mut entries)?;
            let Some(value) = &value else { return Ok(()) };
            let metrics = entries.metrics.clone();
            if let Some(records) = examine(&self.resolver.graph, id, value, &metrics, &mut entries)? {
                *expectations = records;
            }
            if self.stop_at_unmet {
                unmet(expectations)
            } else {
                Ok(())
            }
        });
        let states = entries.states;
        match resolved {
            Ok(()) => {
                if let Some(value) = value {
                    self.state.set_value(id, value);
                }
                self.state.decide(job, Some(&states))
            }
            Err(failure) => Decision::Fail(failure.to_string()),
        }
    }
}

/// Entries as a plan finds them: what is missing is not known yet.
struct FoundEntries<'a> {
    lookups: &'a Lookups,
    states: Vec<CacheState>,
    metrics: BTreeMap<String, f64>,
}

impl<'a> FoundEntries<'a> {
    fn new(lookups: &'a Lookups) -> Self {
        FoundEntries {
            lookups,
            states: Vec::new(),
            metrics: BTreeMap::new(),
        }
    }
}

impl Entries for FoundEntries<'_> {
    fn entry(&mut self, item: WorkItem, _: Work<'_>) -> Result<Option<Entry>, Failure> {
        let key = item.key();
        let (entry, state) = match self.lookups.local(&item, &key) {
            Ok(entry) => (Some(entry), CacheState::Found { from_shared: false }),
            Err(missing) => match self.lookups.fetch_shared(&item, &key, FetchScope::Metadata) {
                Some(entry) => (Some(entry), CacheState::Found { from_shared: true }),
                None => (None, missing),
            },
        };
        self.states.push(state);
        if let (Some(entry), Role::Task) = (&entry, item.role) {
            self.metrics.clone_from(&entry.metrics);
        }
        Ok(entry)
    }

    fn note_input(&mut self, _: String, _: String) {}

    fn note_rows(&mut self, _: Option<u64>) {}
}
