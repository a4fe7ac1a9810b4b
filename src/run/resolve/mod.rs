//! From a node and its inputs to its output: what it is lazily, and which work items it needs the entries of.
//!
//! A plan and a run resolve a node by the same code; they differ in where entries come from ([`Entries`]).

mod schema;
mod steps;
mod stored;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use towline_api::{Artifact, Columns, Form, LazyDataset, OperatorError, Source, State, Stateful, TableContext};

use crate::plan::{Fingerprint, Origin, Placement, Step, placements};
use crate::run::execute::fit::{self, FitRequest};
use crate::run::execute::planned::unconnected;
use crate::run::execute::{columns, source, table};
use crate::run::failure::Failure;
use crate::run::value::{NodeValue, StoredDataset, lazies};
use crate::run::work::{Entries, Role, Work, WorkItem};
use crate::store::{SourceFile, Store, StoreError};
use crate::typing::{GraphNode, NodeId, TypedGraph};

pub(super) use schema::with_known_domains;

/// What a fit learnt, and what stands for it in fingerprints.
pub(super) type Fitted = (State, Origin);

/// Resolves the nodes of a graph.
pub(super) struct Resolver {
    pub(super) graph: Arc<TypedGraph>,
    pub(super) placements: BTreeMap<NodeId, Placement>,
    pub(super) store: Store,
    pub(super) tables: TableContext,
    sources: Mutex<Vec<SourceFile>>,
}

impl Resolver {
    pub(super) fn new(graph: Arc<TypedGraph>, store: Store) -> Self {
        Resolver {
            placements: placements(&graph),
            graph,
            store,
            tables: TableContext {
                session: crate::run::session(),
                runtime: tokio::runtime::Handle::current(),
            },
            sources: Mutex::default(),
        }
    }

    /// From now on, a change of this file is an error.
    fn watch(&self, file: SourceFile) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(file);
    }

    /// An error if a file changed that a node has read, or may be reading.
    pub(super) fn check_sources(&self) -> Result<(), StoreError> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.iter().try_for_each(SourceFile::check)
    }

    fn is_stored(&self, id: NodeId) -> bool {
        self.placements.get(&id).is_some_and(Placement::is_stored)
    }

    /// The output of a node, given what is connected and what its fit learnt; nothing, if an entry that it needs is not
    /// known.
    pub(super) fn output(
        &self,
        id: NodeId,
        inputs: &[NodeValue],
        fitted: Option<&Fitted>,
        entries: &mut dyn Entries,
    ) -> Result<Option<NodeValue>, Failure> {
        let node = &self.graph[id];
        for (connection, value) in node.connections.iter().zip(inputs) {
            entries.note_input(
                self.graph[connection.from].name.clone(),
                value.origin().digest().to_owned(),
            );
        }
        match node.form() {
            Form::Source(source) => self.source(id, source, entries),
            Form::Columns(columns) => self.columns(id, columns, inputs, entries),
            Form::Table(_) => self.table(id, inputs, entries),
            Form::Stateful(stateful) => match fitted {
                Some(fitted) => self.fitted(id, stateful, fitted, inputs, entries),
                None => Err(OperatorError::internal("the fit of this node did not run").into()),
            },
            Form::Task(_) | Form::Sink(_) => self.task(id, inputs, entries),
        }
    }

    fn source(&self, id: NodeId, source: &dyn Source, entries: &mut dyn Entries) -> Result<Option<NodeValue>, Failure> {
        let node = &self.graph[id];
        let (mut files, mut names) = (Vec::new(), Vec::new());
        for (name, path) in source.files()? {
            let file = self.store.source(&path)?;
            entries.note_input(path.display().to_string(), file.digest.clone());
            files.push(Origin::file(&path, &file.digest, file.bytes()));
            names.push(name);
            self.watch(file);
        }
        let part = |(file, name): (&Origin, &String)| file.part("file", Some(name));
        let parts = files.iter().zip(&names).map(part).collect();
        let step = Step::new(
            files,
            Fingerprint::of_operator(&node.descriptor, &node.built, "read", parts),
        );
        let schema = schema::of_output(node, &[]);
        let splits = source::read(node, source, self.is_stored(id), &schema, &self.tables)?;
        let lazy = LazyDataset {
            schema,
            splits,
            vocabularies: BTreeMap::new(),
        };
        self.new_rows(id, lazy, step, entries)
    }

    fn columns(
        &self,
        id: NodeId,
        columns: &dyn Columns,
        inputs: &[NodeValue],
        entries: &mut dyn Entries,
    ) -> Result<Option<NodeValue>, Failure> {
        let step = self.step(id, "columns", inputs.iter().map(NodeValue::origin))?;
        let rows = inputs.first().and_then(|input| input.origin().rows());
        let datasets = lazies(inputs);
        let lazy = LazyDataset {
            schema: schema::of_output(&self.graph[id], inputs),
            splits: columns::project(columns, &datasets)?,
            vocabularies: datasets.iter().flat_map(|d| d.vocabularies.clone()).collect(),
        };
        self.same_rows(id, lazy, step, rows, entries)
    }

    fn table(&self, id: NodeId, inputs: &[NodeValue], entries: &mut dyn Entries) -> Result<Option<NodeValue>, Failure> {
        let node = &self.graph[id];
        let step = self.step(id, "table", inputs.iter().map(NodeValue::origin))?;
        let datasets = lazies(inputs);
        let vocabularies = datasets.iter().flat_map(|d| d.vocabularies.clone()).collect();
        let connected = node.labelled(datasets.into_iter().cloned());
        let schema = schema::of_output(node, inputs);
        let splits = table::apply(node, self.is_stored(id), connected, &schema, &self.tables);
        let lazy = LazyDataset {
            schema,
            splits,
            vocabularies,
        };
        self.new_rows(id, lazy, step, entries)
    }

    /// What a fit learnt, applied to every split.
    fn fitted(
        &self,
        id: NodeId,
        stateful: &dyn Stateful,
        (state, learnt): &Fitted,
        inputs: &[NodeValue],
        entries: &mut dyn Entries,
    ) -> Result<Option<NodeValue>, Failure> {
        let mut step = self.step(id, "apply", inputs.iter().map(NodeValue::origin))?;
        step.add("state", learnt);
        let rows = inputs.first().and_then(|input| input.origin().rows());
        let datasets = lazies(inputs);
        let input = datasets.first().ok_or_else(unconnected)?;
        let splits = fit::apply(stateful, state, input)?;
        let schema = stateful.refine(state, &schema::of_output(&self.graph[id], inputs))?;
        let vocabularies = schema::vocabularies_of(&schema, input, state);
        let lazy = LazyDataset {
            schema,
            splits,
            vocabularies,
        };
        self.same_rows(id, lazy, step, rows, entries)
    }

    fn task(&self, id: NodeId, inputs: &[NodeValue], entries: &mut dyn Entries) -> Result<Option<NodeValue>, Failure> {
        let node = &self.graph[id];
        let mut artifacts = Vec::new();
        let mut origins = Vec::new();
        for value in inputs {
            let Some((artifact, origin)) = self.readable(id, value, entries)? else {
                return Ok(None);
            };
            artifacts.push(artifact);
            origins.push(origin);
        }
        let role = Role::Task;
        let mut step = self.step(id, role.word(), origins.iter())?;
        steps::add_metrics(node, &artifacts, &mut step);
        let item = WorkItem { node: id, role, step };
        let entry = entries.entry(item, Work::Task(&node.labelled(artifacts)))?;
        entry.map(|entry| self.value(id, &entry, entries)).transpose()
    }

    /// A value as a task reads it, and what stands for its content.
    fn readable(
        &self,
        id: NodeId,
        value: &NodeValue,
        entries: &mut dyn Entries,
    ) -> Result<Option<(Artifact, Origin)>, Failure> {
        Ok(match value {
            NodeValue::Dataset {
                stored: Some(StoredDataset { files, origin }),
                ..
            } => Some((Artifact::Dataset(files.clone()), origin.clone())),
            NodeValue::Dataset { lazy, origin, .. } => self
                .stored(id, lazy, origin, entries)?
                .map(|stored| (Artifact::Dataset(stored.files), stored.origin)),
            NodeValue::Other { artifact, origin } => Some((artifact.clone(), origin.clone())),
        })
    }

    /// The fit of a stateful node as a work item, with what it learns from.
    pub(super) fn fit(&self, id: NodeId, inputs: &[NodeValue]) -> Result<(WorkItem, FitRequest), Failure> {
        let Some(NodeValue::Dataset { lazy, .. }) = inputs.first() else {
            return Err(OperatorError::internal("only a dataset can be learnt from").into());
        };
        let role = Role::Fit;
        let step = self.step(id, role.word(), inputs.iter().map(NodeValue::origin))?;
        let request = FitRequest {
            lazy: lazy.clone(),
            inputs: self.graph[id].labelled(lazies(inputs).into_iter().cloned()),
        };
        Ok((WorkItem { node: id, role, step }, request))
    }

    /// The operator of a stateful node.
    pub(super) fn stateful(node: &GraphNode) -> Result<&dyn Stateful, Failure> {
        match node.form() {
            Form::Stateful(stateful) => Ok(stateful),
            _ => Err(OperatorError::internal("this operator does not learn").into()),
        }
    }
}
