//! One node's output, by the form of its operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::dataframe::DataFrame;
use towline_operators::contract::{
    Columns, Form, Input, Inputs, LazyDataset, LazyTable, NodeType, OperatorError, ProgressSink, Schema, Source, State,
    Stateful, Table, TableContext,
};

use super::runner::{Failure, Runner};
use super::value::{NodeValue, lazies};
use crate::plan::{Binding, Fingerprint};

impl Runner {
    /// The output of a node that is neither a fit nor behind an error. `state` is what its fit learnt.
    pub(super) fn node(
        &self,
        index: usize,
        inputs: &[NodeValue],
        state: Option<(State, String)>,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<NodeValue, Failure> {
        let typed = &self.nodes[index];
        let references = self.pipeline.nodes[index].inputs.references();
        let inputs = typed
            .bindings
            .iter()
            .map(|binding| inputs[binding.reference].selected(references[binding.reference]))
            .collect::<Vec<_>>();
        match typed.built.operator.form() {
            Form::Source(source) => self.source(index, source, progress),
            Form::Columns(columns) => self.columns(index, columns, &inputs, progress),
            Form::Table(table) => self.table(index, table, &inputs, progress),
            Form::Stateful(stateful) => match state {
                Some(state) => self.applied(index, stateful, &state, &inputs, progress),
                None => Err(OperatorError::invalid("the fit of this node did not run").into()),
            },
            Form::Task(task) => self.task(index, task, &inputs, progress),
        }
    }

    fn source(
        &self,
        index: usize,
        source: &dyn Source,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<NodeValue, Failure> {
        let typed = &self.nodes[index];
        let files = source.files()?;
        let digests = files
            .iter()
            .map(|path| Ok(("file".to_owned(), self.store.source_digest(path)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let recipe = Fingerprint::of_step(&typed.descriptor, &typed.built, "read", &digests).key();
        let lazy = LazyDataset {
            schema: self.schema(index, &[]),
            splits: frames(source.read(&self.table_context())?),
            vocabularies: BTreeMap::new(),
        };
        self.new_rows(index, lazy, recipe, source.in_place(), progress.as_ref())
    }

    fn columns(
        &self,
        index: usize,
        columns: &dyn Columns,
        inputs: &[NodeValue],
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<NodeValue, Failure> {
        let recipe = self.recipe(index, "columns", inputs, None);
        let datasets = lazies(inputs);
        let first = datasets.first().ok_or_else(unconnected)?;
        let mut splits = Vec::new();
        for (name, table) in &first.splits {
            let parts: Vec<&[_]> = datasets
                .iter()
                .filter_map(|d| d.split(name))
                .map(|table| table.columns.as_slice())
                .collect();
            let columns = columns.project(&parts)?;
            let base = table.base.clone();
            splits.push((name.clone(), LazyTable { base, columns }));
        }
        let lazy = LazyDataset {
            schema: self.schema(index, inputs),
            splits,
            vocabularies: datasets.iter().flat_map(|d| d.vocabularies.clone()).collect(),
        };
        self.same_rows(index, lazy, recipe, progress.as_ref())
    }

    fn table(
        &self,
        index: usize,
        table: &dyn Table,
        inputs: &[NodeValue],
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<NodeValue, Failure> {
        let recipe = self.recipe(index, "table", inputs, None);
        let datasets = lazies(inputs);
        let vocabularies = datasets.iter().flat_map(|d| d.vocabularies.clone()).collect();
        let connected = Inputs(self.labelled(index, datasets.into_iter().cloned()));
        let lazy = LazyDataset {
            schema: self.schema(index, inputs),
            splits: frames(table.apply(&connected, &self.table_context())?),
            vocabularies,
        };
        self.new_rows(index, lazy, recipe, false, progress.as_ref())
    }

    /// What a fit learnt, applied to every split.
    fn applied(
        &self,
        index: usize,
        stateful: &dyn Stateful,
        (state, digest): &(State, String),
        inputs: &[NodeValue],
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<NodeValue, Failure> {
        let recipe = self.recipe(index, "apply", inputs, Some(digest));
        let datasets = lazies(inputs);
        let input = datasets.first().ok_or_else(unconnected)?;
        let mut splits = Vec::new();
        for (name, table) in &input.splits {
            let columns = stateful.project(state, &input.schema, &table.columns)?;
            let base = table.base.clone();
            splits.push((name.clone(), LazyTable { base, columns }));
        }
        let schema = stateful.refine(state, &self.schema(index, inputs))?;
        let named = |digest: &String| {
            schema
                .columns
                .iter()
                .any(|c| c.domain.as_ref().and_then(|d| d.vocabulary.as_ref()) == Some(digest))
        };
        let learnt = state
            .tables
            .values()
            .map(|table| (table.digest.clone(), table.vocabulary.clone()));
        let vocabularies = input
            .vocabularies
            .clone()
            .into_iter()
            .chain(learnt)
            .filter(|(digest, _)| named(digest))
            .collect();
        let lazy = LazyDataset {
            schema,
            splits,
            vocabularies,
        };
        self.same_rows(index, lazy, recipe, progress.as_ref())
    }

    fn table_context(&self) -> TableContext {
        TableContext {
            session: self.session.clone(),
            runtime: self.runtime.clone(),
        }
    }

    /// The static schema of a node's output, with what the inputs' fits have found about its domains.
    fn schema(&self, index: usize, inputs: &[NodeValue]) -> Schema {
        let NodeType::Dataset(dataset) = &self.nodes[index].output else {
            return Schema::default();
        };
        let mut schema = dataset.schema.clone();
        let known: Vec<_> = lazies(inputs)
            .into_iter()
            .flat_map(|d| &d.schema.columns)
            .filter_map(|c| c.domain.as_ref())
            .collect();
        for domain in schema.columns.iter_mut().filter_map(|column| column.domain.as_mut()) {
            if let Some(found) = known
                .iter()
                .find(|found| found.name == domain.name && found.vocabulary.is_some())
            {
                domain.clone_from(found);
            }
        }
        schema
    }

    fn recipe(&self, index: usize, role: &str, inputs: &[NodeValue], state: Option<&String>) -> String {
        let typed = &self.nodes[index];
        let mut digests: Vec<(String, String)> = typed
            .bindings
            .iter()
            .zip(inputs)
            .map(|(binding, value)| (binding.key().to_owned(), value.digest().to_owned()))
            .collect();
        digests.extend(state.map(|digest| ("state".to_owned(), digest.clone())));
        Fingerprint::of_step(&typed.descriptor, &typed.built, role, &digests).key()
    }

    /// What is connected to a node, under the names that its operator knows it by.
    pub(super) fn labelled<T>(&self, index: usize, values: impl Iterator<Item = T>) -> Vec<Input<T>> {
        let references = self.pipeline.nodes[index].inputs.references();
        let label = |binding: &Binding| {
            let upstream = self.name(references[binding.reference].node);
            binding.label.clone().unwrap_or_else(|| upstream.to_owned())
        };
        self.nodes[index]
            .bindings
            .iter()
            .zip(values)
            .map(|(binding, value)| Input {
                port: binding.port,
                label: label(binding),
                value,
            })
            .collect()
    }
}

fn unconnected() -> OperatorError {
    OperatorError::invalid("nothing is connected")
}

fn frames(splits: Vec<(String, DataFrame)>) -> Vec<(String, LazyTable)> {
    splits
        .into_iter()
        .map(|(name, frame)| (name, LazyTable::from_frame(frame)))
        .collect()
}
