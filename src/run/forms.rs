//! One node's output, by the form of its operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::dataframe::DataFrame;
use towline_api::{
    Columns, Form, Input, Inputs, LazyDataset, LazyTable, NodeType, OperatorError, Rows, Schema, Source, State,
    Stateful, TableContext,
};

use crate::plan::{Fingerprint, InputPart, Origin, Step};
use crate::run::attempts::Job;
use crate::run::runner::{Failure, Runner};
use crate::run::value::{NodeValue, lazies};
use crate::typing::Binding;

impl Runner {
    /// The output of a node that is neither a fit nor behind an error. `state` is what its fit learnt.
    pub(super) fn node(
        &self,
        index: usize,
        inputs: &[NodeValue],
        state: Option<(State, Origin)>,
        job: &Job,
    ) -> Result<NodeValue, Failure> {
        let typed = &self.nodes[index];
        let references = self.pipeline.nodes[index].inputs.references();
        let inputs = self.connected(index, inputs);
        let connected = |(binding, value): (&Binding, &NodeValue)| {
            let node = self.name(references[binding.reference].node);
            (node.to_owned(), value.origin().digest().to_owned())
        };
        let connected = typed.bindings.iter().zip(&inputs).map(connected).collect();
        self.note(index, |work| work.inputs = connected);
        match typed.built.operator.form() {
            Form::Source(source) => self.source(index, source, job),
            Form::Columns(columns) => self.columns(index, columns, &inputs, job),
            Form::Table(_) => self.table(index, &inputs, job),
            Form::Stateful(stateful) => match state {
                Some(state) => self.applied(index, stateful, &state, &inputs, job),
                None => Err(OperatorError::internal("the fit of this node did not run").into()),
            },
            Form::Task(task) => self.task(index, &|inputs, context| task.run(inputs, context), &inputs, job),
            Form::Sink(sink) => self.task(index, &|inputs, context| sink.run(inputs, context), &inputs, job),
        }
    }

    fn source(&self, index: usize, source: &dyn Source, job: &Job) -> Result<NodeValue, Failure> {
        let typed = &self.nodes[index];
        let (mut files, mut names) = (Vec::new(), Vec::new());
        for (name, path) in source.files()? {
            let file = self.store.source(&path)?;
            let place = path.display().to_string();
            self.note(index, |work| work.inputs.push((place, file.digest.clone())));
            files.push(Origin::file(&path, &file.digest, file.bytes()));
            names.push(name);
            self.watch(file);
        }
        let part = |(file, name): (&Origin, &String)| file.part("file", Some(name));
        let parts = files.iter().zip(&names).map(part).collect();
        let step = Step::new(
            files,
            Fingerprint::of_operator(&typed.descriptor, &typed.built, "read", parts),
        );
        let schema = self.schema(index, &[]);
        let splits = if source.in_place() {
            // What is wrong with the files is told of the source, not of the first that reads it.
            let frames = source.read(&self.table_context())?;
            let table = |(name, frame)| (name, LazyTable::from_frame(frame));
            frames.into_iter().map(table).collect()
        } else {
            let context = self.table_context();
            self.planned(index, &schema, move |form| match form {
                Form::Source(source) => source.read(&context),
                _ => Err(unconnected()),
            })
        };
        let vocabularies = BTreeMap::new();
        let lazy = LazyDataset {
            schema,
            splits,
            vocabularies,
        };
        self.new_rows(index, lazy, step, job)
    }

    fn columns(
        &self,
        index: usize,
        columns: &dyn Columns,
        inputs: &[NodeValue],
        job: &Job,
    ) -> Result<NodeValue, Failure> {
        let step = self.step(index, "columns", inputs.iter().map(NodeValue::origin))?;
        let rows = inputs.first().and_then(|input| input.origin().rows());
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
        self.same_rows(index, lazy, step, rows, job)
    }

    fn table(&self, index: usize, inputs: &[NodeValue], job: &Job) -> Result<NodeValue, Failure> {
        let step = self.step(index, "table", inputs.iter().map(NodeValue::origin))?;
        let datasets = lazies(inputs);
        let vocabularies = datasets.iter().flat_map(|d| d.vocabularies.clone()).collect();
        let connected = Inputs(self.labelled(index, datasets.into_iter().cloned()));
        let schema = self.schema(index, inputs);
        let context = self.table_context();
        let splits = self.planned(index, &schema, move |form| match form {
            Form::Table(table) => table.apply(&connected, &context),
            _ => Err(unconnected()),
        });
        let lazy = LazyDataset {
            schema,
            splits,
            vocabularies,
        };
        self.new_rows(index, lazy, step, job)
    }

    /// The splits of a node that makes new rows, to be planned by `make` when they are asked for.
    fn planned(
        &self,
        index: usize,
        schema: &Schema,
        make: impl Fn(Form<'_>) -> Result<Vec<(String, DataFrame)>, OperatorError> + Send + Sync + 'static,
    ) -> Vec<(String, LazyTable)> {
        let typed = &self.nodes[index];
        let NodeType::Dataset(dataset) = &typed.output else {
            return Vec::new();
        };
        let operator = Arc::clone(&typed.built.operator);
        let part = (!self.placements[index].is_stored()).then(|| self.name(index).to_owned());
        let rows = Rows::of_splits(&dataset.splits, move || {
            // A step that is a part of another's plan fails there: the error has to say whose it is.
            make(operator.form()).map_err(|error| match &part {
                Some(name) => error.reworded(|text| format!("in `{name}`, which is a part of its plan: {text}")),
                None => error,
            })
        });
        let table = |(name, base)| (name, LazyTable::of_rows(base, schema));
        rows.into_iter().map(table).collect()
    }

    /// What a fit learnt, applied to every split.
    fn applied(
        &self,
        index: usize,
        stateful: &dyn Stateful,
        (state, learnt_origin): &(State, Origin),
        inputs: &[NodeValue],
        job: &Job,
    ) -> Result<NodeValue, Failure> {
        let mut step = self.step(index, "apply", inputs.iter().map(NodeValue::origin))?;
        step.add("state", learnt_origin);
        let rows = inputs.first().and_then(|input| input.origin().rows());
        let datasets = lazies(inputs);
        let input = datasets.first().ok_or_else(unconnected)?;
        let mut splits = Vec::new();
        for (name, table) in &input.splits {
            let columns = stateful.project(state, &input.schema, name, &table.columns)?;
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
        self.same_rows(index, lazy, step, rows, job)
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
        with_known_domains(&dataset.schema, lazies(inputs).into_iter().map(|lazy| &lazy.schema))
    }

    /// A step of a node on what is connected to it.
    pub(super) fn step<'a>(
        &self,
        index: usize,
        role: &str,
        inputs: impl Iterator<Item = &'a Origin>,
    ) -> Result<Step, Failure> {
        let typed = &self.nodes[index];
        let inputs: Vec<Origin> = inputs.cloned().collect();
        let parts = self.labelled(index, inputs.iter()).into_iter().map(|input| {
            let named = typed
                .descriptor
                .ports
                .iter()
                .any(|port| port.name == input.port && port.named);
            input.value.part(input.port, named.then_some(input.label.as_str()))
        });
        let parts: Vec<InputPart> = parts.collect();
        let mut step = Step::new(
            inputs,
            Fingerprint::of_operator(&typed.descriptor, &typed.built, role, parts),
        );
        let outside = typed.built.operator.outside()?;
        for path in &outside.files {
            let file = self.store.source(path)?;
            step.add("file", &Origin::file(path, &file.digest, file.bytes()));
            self.watch(file);
        }
        for name in outside.variables {
            // The value may be a secret: only its keyed digest is kept.
            let value = std::env::var_os(&name).map(|value| value.to_string_lossy().into_owned());
            let label = format!("the environment variable {name}");
            step.add(
                &name,
                &Origin::stored(&label, &self.store.secret_digest(&value.into())?, None, None),
            );
        }
        Ok(step)
    }

    /// What is connected to a node, by binding; `inputs` are the outputs that its references name.
    pub(super) fn connected(&self, index: usize, inputs: &[NodeValue]) -> Vec<NodeValue> {
        let references = self.pipeline.nodes[index].inputs.references();
        let bindings = self.nodes[index].bindings.iter();
        bindings
            .map(|binding| inputs[binding.reference].selected(references[binding.reference]))
            .collect()
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

/// A static schema with what the fits behind its inputs have found about their domains.
pub(super) fn with_known_domains<'a>(schema: &Schema, inputs: impl Iterator<Item = &'a Schema>) -> Schema {
    let mut schema = schema.clone();
    let known: Vec<_> = inputs
        .flat_map(|input| &input.columns)
        .filter_map(|column| column.domain.as_ref())
        .collect();
    for domain in schema.columns.iter_mut().filter_map(|column| column.domain.as_mut()) {
        let found = known
            .iter()
            .find(|found| found.name == domain.name && found.vocabulary.is_some());
        if let Some(found) = found {
            domain.clone_from(found);
        }
    }
    schema
}

fn unconnected() -> OperatorError {
    OperatorError::internal("nothing is connected")
}
