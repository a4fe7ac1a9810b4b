//! What the store has of a work item, and why it has nothing.

use std::sync::Arc;

use towline_api::{Cancel, Form, Sink};

use crate::config::CacheMode;
use crate::plan::{CacheState, Explanation, Selection, changes, compare};
use crate::run::events::Events;
use crate::run::execute::sink;
use crate::run::work::{Role, WorkItem};
use crate::store::{Content, Entry, FetchScope, Lookup, SharedError, SharedStore, Store};
use crate::typing::{NodeId, TypedGraph};

/// Looks work items up in the local store and in the shared one.
pub(super) struct Lookups {
    pub(super) graph: Arc<TypedGraph>,
    pub(super) store: Store,
    pub(super) selection: Selection,
    pub(super) events: Events,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) cancel: Cancel,
}

impl Lookups {
    /// The entry of a work item in the local store, or why there is none that can be reused.
    pub(super) fn local(&self, item: &WorkItem, key: &str) -> Result<Entry, CacheState> {
        let node = &self.graph[item.node];
        if let Some(reason) = self.selection.fresh.get(&item.node) {
            return Err(CacheState::Refused(reason.clone()));
        }
        if node.settings.cache == CacheMode::Never {
            return Err(CacheState::Refused("`cache: never`".to_owned()));
        }
        match self.store.lookup(key) {
            Lookup::Found(entry) => self.still_published(item, entry),
            Lookup::Absent => Err(self.absent(item, key)),
            Lookup::Damaged(what) => {
                self.events.warn(format!("{}: {what}; it is made again", node.name));
                Err(CacheState::Damaged(what))
            }
        }
    }

    /// The entry, if what a sink published still stands.
    fn still_published(&self, item: &WorkItem, entry: Entry) -> Result<Entry, CacheState> {
        let (Some(sink), Some(place)) = (self.sink(item), self.place(item)) else {
            return Ok(entry);
        };
        let Content::Receipt { receipt } = &entry.content else {
            return Ok(entry);
        };
        let target = &receipt.target;
        if !sink.still_published(receipt) {
            let reason = format!("what it published is gone or has another size: {target}");
            Err(CacheState::Unpublished(reason))
        } else if !self.store.is_published(&place, &entry.key) {
            let reason = format!("something else was published since: {target}");
            Err(CacheState::Unpublished(reason))
        } else {
            Ok(entry)
        }
    }

    /// The sink whose work this is, if it is that of one.
    fn sink(&self, item: &WorkItem) -> Option<&dyn Sink> {
        match self.graph[item.node].form() {
            Form::Sink(sink) if item.role == Role::Task => Some(sink),
            _ => None,
        }
    }

    /// The place outside the store that a work item writes to, if it is that of a sink.
    pub(super) fn place(&self, item: &WorkItem) -> Option<String> {
        let sink = self.sink(item)?;
        Some(sink::place(&self.graph[item.node], sink))
    }

    /// Why there is nothing under the key of a work item.
    fn absent(&self, item: &WorkItem, key: &str) -> CacheState {
        /// More than this is a list, not a reason.
        const SHOWN: usize = 4;
        let because = |reason: &str| CacheState::Absent(vec![reason.to_owned()]);
        if item.role == Role::Facts {
            return because("its expectations were not checked on this output yet");
        }
        let name = &self.graph[item.node].name;
        let Some(last) = self.last_key(item.node, item.role) else {
            return because("never ran");
        };
        if last == key {
            return CacheState::Gone("artifact missing: its entry is gone".to_owned());
        }
        let Some(before) = self.store.fingerprint::<Explanation>(&last) else {
            return because("what it did before is not known any more");
        };
        let mut changes = changes(name, &before, &item.step.explanation());
        if changes.len() > SHOWN {
            let more = changes.len() - SHOWN;
            changes.truncate(SHOWN);
            changes.push(format!("and {more} more"));
        }
        CacheState::Absent(changes)
    }

    fn last_key(&self, node: NodeId, role: Role) -> Option<String> {
        let work = role.of_node(&self.graph[node].name);
        self.store.last_key_of_node(self.graph.name(), &work)
    }

    /// What has changed of a node itself since it last ran, whatever becomes of its inputs.
    pub(super) fn own_changes(&self, id: NodeId) -> Vec<String> {
        let node = &self.graph[id];
        let (operator, code) = (node.descriptor.name, node.descriptor.code_version);
        let mut changes = Vec::new();
        for role in [Role::Task, Role::Fit, Role::Rows] {
            let last = self.last_key(id, role);
            let Some(before) = last.and_then(|key| self.store.fingerprint::<Explanation>(&key)) else {
                continue;
            };
            let steps = before.origins.values().filter(|origin| origin.label == node.name);
            let mut own = std::iter::once(&before.fingerprint).chain(steps.filter_map(|origin| origin.step.as_ref()));
            let Some(own) = own.find(|fingerprint| fingerprint.operator == operator) else {
                continue;
            };
            if own.code != code {
                changes.push(format!("{operator} code {} -> {code}", own.code));
            }
            compare("with", &own.with, &node.built.cache_config, &mut changes);
            break;
        }
        changes
    }

    /// The shared store, if this work item is one to share. What a sink has published is not: it is there or not, whoever
    /// published something under the same key elsewhere.
    pub(super) fn shared(&self, item: &WorkItem) -> Option<&Arc<SharedStore>> {
        let never = self.graph[item.node].settings.cache == CacheMode::Never;
        self.store.shared().filter(|_| self.sink(item).is_none() && !never)
    }

    /// The entry of a work item from the shared store, with as much of it as is wanted in the local one; nothing, if there
    /// is none that can be used.
    pub(super) fn fetch_shared(&self, item: &WorkItem, key: &str, scope: FetchScope) -> Option<Entry> {
        let shared = self.shared(item).filter(|shared| shared.is_readable())?;
        if self.selection.fresh.contains_key(&item.node) {
            return None;
        }
        let fetched = self
            .runtime
            .block_on(shared.fetch(&self.store, key, scope, &self.cancel));
        match fetched {
            Ok(entry) => entry,
            Err(SharedError::Interrupted) => None,
            Err(SharedError::Damaged(what)) => {
                let (name, shown) = (&self.graph[item.node].name, shared.address());
                self.events
                    .warn(format!("{name}: in the shared store {shown}: {what}; it is made again"));
                None
            }
            Err(error) => {
                if shared.disable_reads() {
                    let shown = shared.address();
                    self.events
                        .warn(format!("the run goes on without the shared store {shown}: {error}"));
                }
                None
            }
        }
    }
}
