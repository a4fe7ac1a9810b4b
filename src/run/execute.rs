//! What it takes to bring one node's output about.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use datafusion::prelude::{SessionConfig, SessionContext};
use serde_json::Value;
use towline_operators::contract::{
    Artifact, Cancel, Context, Device, Form, Input, Inputs, LazyDataset, LazyTable, ModelFiles, OperatorError, Output,
    ProgressSink, Purity, Report, Schema, TableContext, Task, TaskResult,
};

use crate::pipeline::{CacheMode, Pipeline, Reference};
use crate::plan::{Fingerprint, TypedNode, changes, selected_names};
use crate::store::{Blob, Content, Entry, Store, StoreError, StoredSplit};

/// Why a node has no output.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The operator failed.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Only a plan was asked for, and the node would run.
    #[error("{0}")]
    WouldRun(String),
}

/// What a node's output is, for those that depend on it.
#[derive(Clone)]
pub enum NodeValue {
    /// A dataset; `recipe` stands for its content.
    Dataset {
        /// Its columns, lazily.
        lazy: LazyDataset,
        /// Digest of how it comes about: stored content, and the steps on top of it.
        recipe: String,
    },
    /// Anything else.
    Other {
        /// What it is.
        artifact: Artifact,
        /// Digest of its content.
        digest: String,
    },
}

/// What was done for a node.
#[derive(Clone, Default)]
pub struct Work {
    /// Whether anything ran; false if everything came out of the store.
    pub ran: bool,
    /// Why it ran, in words.
    pub reason: String,
    /// Rows of the output, where they were counted.
    pub rows: Option<u64>,
    /// Its metrics.
    pub metrics: BTreeMap<String, f64>,
    /// What a person wants to see.
    pub report: Report,
}

/// Brings outputs about. Shared by all threads of a run.
pub(super) struct Runner {
    pub(super) pipeline: Pipeline,
    pub(super) nodes: Vec<TypedNode>,
    pub(super) store: Store,
    pub(super) session: SessionContext,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) cancel: Cancel,
    pub(super) plan_only: bool,
    pub(super) threads: usize,
    pub(super) device: Device,
    pub(super) work: std::sync::Mutex<BTreeMap<usize, Work>>,
}

/// A session whose plans keep the order of rows: one partition, names as they are written, plain string arrays.
pub(crate) fn session() -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(1).with_batch_size(8192);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.execution.parquet.schema_force_view_types = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    SessionContext::new_with_config(config)
}

impl Runner {
    /// The output of a node that is neither a fit nor behind an error. `state` is what its fit learnt.
    pub(super) fn node(
        &self,
        index: usize,
        inputs: &[NodeValue],
        state: Option<(towline_operators::contract::State, String)>,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<NodeValue, Failure> {
        let typed = &self.nodes[index];
        let references = self.pipeline.nodes[index].inputs.references();
        let inputs = typed
            .bindings
            .iter()
            .map(|binding| self.selected(&inputs[binding.reference], references[binding.reference]))
            .collect::<Vec<_>>();
        let table_context = TableContext {
            session: self.session.clone(),
            runtime: self.runtime.clone(),
        };
        match typed.built.operator.form() {
            Form::Source(source) => {
                let files = source.files()?;
                let digests = files
                    .iter()
                    .map(|path| Ok(("file".to_owned(), self.store.source_digest(path)?)))
                    .collect::<Result<Vec<_>, Failure>>()?;
                let recipe = Fingerprint::of_step(&typed.descriptor, &typed.built, "read", &digests).key();
                let splits = frames(source.read(&table_context)?);
                let lazy = LazyDataset {
                    schema: self.schema(index, &inputs),
                    splits,
                    vocabularies: BTreeMap::new(),
                };
                self.rows(index, lazy, recipe, source.in_place(), progress)
            }
            Form::Columns(columns) => {
                let recipe = self.recipe(typed, "columns", &inputs, &[]);
                let datasets = lazies(&inputs);
                let Some(first) = datasets.first() else {
                    return Err(OperatorError::invalid("nothing is connected").into());
                };
                let mut splits = Vec::new();
                for (name, table) in &first.splits {
                    let parts: Vec<&[_]> = datasets
                        .iter()
                        .filter_map(|d| d.split(name))
                        .map(|table| table.columns.as_slice())
                        .collect();
                    splits.push((
                        name.clone(),
                        LazyTable {
                            base: table.base.clone(),
                            columns: columns.project(&parts)?,
                        },
                    ));
                }
                let vocabularies = datasets.iter().flat_map(|d| d.vocabularies.clone()).collect();
                let lazy = LazyDataset {
                    schema: self.schema(index, &inputs),
                    splits,
                    vocabularies,
                };
                self.kept(index, lazy, recipe, progress)
            }
            Form::Table(table) => {
                let recipe = self.recipe(typed, "table", &inputs, &[]);
                let datasets = lazies(&inputs);
                let vocabularies = datasets.iter().flat_map(|d| d.vocabularies.clone()).collect();
                let connected = Inputs(self.labelled(index, datasets.into_iter().cloned()));
                let splits = frames(table.apply(&connected, &table_context)?);
                let lazy = LazyDataset {
                    schema: self.schema(index, &inputs),
                    splits,
                    vocabularies,
                };
                self.rows(index, lazy, recipe, false, progress)
            }
            Form::Stateful(stateful) => {
                let Some((state, digest)) = state else {
                    return Err(OperatorError::invalid("the fit of this node did not run").into());
                };
                let recipe = self.recipe(typed, "apply", &inputs, &[digest]);
                let datasets = lazies(&inputs);
                let Some(input) = datasets.first() else {
                    return Err(OperatorError::invalid("nothing is connected").into());
                };
                let mut splits = Vec::new();
                for (name, table) in &input.splits {
                    let columns = stateful.project(&state, &input.schema, &table.columns)?;
                    splits.push((
                        name.clone(),
                        LazyTable {
                            base: table.base.clone(),
                            columns,
                        },
                    ));
                }
                let schema = stateful.refine(&state, &self.schema(index, &inputs))?;
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
                    .filter(|(d, _)| named(d))
                    .collect();
                self.kept(
                    index,
                    LazyDataset {
                        schema,
                        splits,
                        vocabularies,
                    },
                    recipe,
                    progress,
                )
            }
            Form::Task(task) => self.task(index, task, &inputs, progress),
        }
    }

    /// A dataset with new rows: stored, so that all that descends from it reads the same rows, unless its only reader
    /// makes new rows of its own and so can take the plan as it is.
    fn rows(
        &self,
        index: usize,
        lazy: LazyDataset,
        recipe: String,
        in_place: bool,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<NodeValue, Failure> {
        let readers = self.readers(index);
        let fuses = |reader: &usize| matches!(self.nodes[*reader].built.operator.form(), Form::Table(_));
        if in_place || (readers.len() == 1 && readers.iter().all(fuses)) {
            return Ok(NodeValue::Dataset { lazy, recipe });
        }
        let (entry, files) = self.stored(index, &lazy, &recipe, progress.as_ref())?;
        self.note_rows(index, files.rows());
        Ok(NodeValue::Dataset {
            lazy: self.scan(&files)?,
            recipe: entry.content_digest(),
        })
    }

    /// A dataset whose rows are those of its input: stays a projection; stored as well if nothing reads it, since then
    /// it is a result.
    fn kept(
        &self,
        index: usize,
        lazy: LazyDataset,
        recipe: String,
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<NodeValue, Failure> {
        if self.readers(index).is_empty() {
            let (_, files) = self.stored(index, &lazy, &recipe, progress.as_ref())?;
            self.note_rows(index, files.rows());
        }
        Ok(NodeValue::Dataset { lazy, recipe })
    }

    /// The nodes that read this one's output.
    fn readers(&self, index: usize) -> Vec<usize> {
        let reads = |node: &crate::pipeline::Node| node.inputs.references().iter().any(|r| r.node == index);
        self.pipeline
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| reads(node))
            .map(|(reader, _)| reader)
            .collect()
    }

    fn task(
        &self,
        index: usize,
        task: &dyn Task,
        inputs: &[NodeValue],
        progress: &Arc<dyn ProgressSink>,
    ) -> Result<NodeValue, Failure> {
        let typed = &self.nodes[index];
        let mut artifacts = Vec::new();
        let mut digests = Vec::new();
        for (binding, value) in typed.bindings.iter().zip(inputs) {
            let (artifact, digest) = match value {
                NodeValue::Dataset { lazy, recipe } => {
                    let (entry, files) = self.stored(index, lazy, recipe, progress.as_ref())?;
                    (Artifact::Dataset(files), entry.content_digest())
                }
                NodeValue::Other { artifact, digest } => (artifact.clone(), digest.clone()),
            };
            artifacts.push(artifact);
            digests.push((binding.label.clone().unwrap_or_else(|| binding.port.to_owned()), digest));
        }
        let fingerprint = Fingerprint::of_step(&typed.descriptor, &typed.built, "task", &digests);
        if let Some(entry) = self
            .reusable(index, "task", &fingerprint)
            .filter(|entry| self.still_there(typed, entry))
        {
            return self.value_of(&entry);
        }
        self.refuse_in_plan(index, "task", &fingerprint)?;
        let start = Instant::now();
        let temp = self.store.temp_dir()?;
        let context = Context {
            progress: Arc::clone(progress),
            cancel: self.cancel.clone(),
            temp: temp.path().to_owned(),
            session: self.session.clone(),
            runtime: self.runtime.clone(),
            threads: self.threads,
            device: self.device,
        };
        let connected = Inputs(self.labelled(index, artifacts.into_iter()));
        let Output {
            result,
            metrics,
            report,
        } = task.run(&connected, &context)?;
        let content = self.content(result)?;
        let entry = self.publish(index, "task", &fingerprint, content, metrics, report, start)?;
        self.value_of(&entry)
    }

    fn still_there(&self, typed: &TypedNode, entry: &Entry) -> bool {
        match &entry.content {
            Content::Receipt { receipt } if typed.descriptor.purity == Purity::Effect => {
                typed.built.operator.still_published(receipt)
            }
            _ => true,
        }
    }

    fn content(&self, result: TaskResult) -> Result<Content, Failure> {
        Ok(match result {
            TaskResult::Dataset {
                schema,
                splits,
                vocabularies,
            } => {
                let mut stored = Vec::new();
                for (name, path) in splits {
                    let rows = rows_of(&path)?;
                    stored.push(StoredSplit {
                        name,
                        blob: self.store.publish_blob(&path, "parquet")?,
                        rows,
                    });
                }
                Content::Dataset {
                    schema,
                    splits: stored,
                    vocabularies: self.blobs_of(&vocabularies)?,
                }
            }
            TaskResult::Model {
                model_type,
                description,
                files,
                vocabularies,
            } => Content::Model {
                model_type,
                description,
                files: self.publish_files(files)?,
                vocabularies: self.blobs_of(&vocabularies)?,
            },
            TaskResult::Metrics => Content::Metrics,
            TaskResult::Receipt(receipt) => Content::Receipt { receipt },
        })
    }

    pub(super) fn publish_files(&self, files: BTreeMap<String, PathBuf>) -> Result<BTreeMap<String, Blob>, Failure> {
        files
            .into_iter()
            .map(|(name, path)| {
                let extension = path
                    .extension()
                    .map_or_else(|| "bin".to_owned(), |e| e.to_string_lossy().into_owned());
                Ok((name, self.store.publish_blob(&path, &extension)?))
            })
            .collect()
    }

    fn value_of(&self, entry: &Entry) -> Result<NodeValue, Failure> {
        let digest = entry.content_digest();
        let artifact = match &entry.content {
            Content::Dataset { .. } => {
                let files = self.files(entry)?;
                return Ok(NodeValue::Dataset {
                    lazy: self.scan(&files)?,
                    recipe: digest,
                });
            }
            Content::Model {
                model_type,
                description,
                files,
                vocabularies,
            } => Artifact::Model(ModelFiles {
                digest: digest.clone(),
                model_type: model_type.clone(),
                description: description.clone(),
                files: files
                    .iter()
                    .map(|(name, blob)| (name.clone(), self.store.blob_path(blob)))
                    .collect(),
                vocabularies: self.open_vocabularies(vocabularies),
            }),
            Content::Receipt { receipt } => Artifact::Receipt(receipt.clone()),
            Content::Metrics | Content::State { .. } => Artifact::Metrics(entry.metrics.clone()),
        };
        Ok(NodeValue::Other { artifact, digest })
    }

    /// What a reference takes of a node's output.
    pub(super) fn selected(&self, value: &NodeValue, reference: &Reference) -> NodeValue {
        let NodeValue::Dataset { lazy, recipe } = value else {
            return value.clone();
        };
        let names = selected_names(&lazy.schema, reference);
        let split = reference.split.as_ref().map(|split| split.value.as_str());
        if names.is_none() && split.is_none() {
            return value.clone();
        }
        let mut lazy = lazy.clone();
        if let Some(split) = split {
            lazy.splits.retain(|(name, _)| name == split);
        }
        if let Some(names) = &names {
            lazy.schema.columns = names.iter().filter_map(|name| lazy.schema.get(name).cloned()).collect();
            for (_, table) in &mut lazy.splits {
                let picked = names
                    .iter()
                    .filter_map(|name| table.columns.iter().find(|c| c.name == *name).cloned());
                table.columns = picked.collect();
            }
        }
        let recipe = Fingerprint::of_selection(recipe, names.as_deref(), split).key();
        NodeValue::Dataset { lazy, recipe }
    }

    /// The static schema of a node's output, with what the inputs' fits have found about its domains.
    fn schema(&self, index: usize, inputs: &[NodeValue]) -> Schema {
        let towline_operators::contract::NodeType::Dataset(dataset) = &self.nodes[index].output else {
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

    fn recipe(&self, typed: &TypedNode, role: &str, inputs: &[NodeValue], extra: &[String]) -> String {
        let mut digests: Vec<(String, String)> = typed
            .bindings
            .iter()
            .zip(inputs)
            .map(|(binding, value)| {
                (
                    binding.label.clone().unwrap_or_else(|| binding.port.to_owned()),
                    digest(value),
                )
            })
            .collect();
        digests.extend(extra.iter().map(|digest| ("state".to_owned(), digest.clone())));
        Fingerprint::of_step(&typed.descriptor, &typed.built, role, &digests).key()
    }

    fn labelled<T>(&self, index: usize, values: impl Iterator<Item = T>) -> Vec<Input<T>> {
        let node = &self.pipeline.nodes[index];
        let references = node.inputs.references();
        let label = |binding: &crate::plan::Binding| {
            let upstream = &self.pipeline.nodes[references[binding.reference].node];
            binding.label.clone().unwrap_or_else(|| upstream.name.clone())
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

    /// The entry of a key, if the node may reuse it.
    pub(super) fn reusable(&self, index: usize, role: &str, fingerprint: &Fingerprint) -> Option<Entry> {
        if self.pipeline.nodes[index].settings.cache == CacheMode::Never {
            return None;
        }
        let entry = self.store.entry(&fingerprint.key())?;
        let mut work = self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let work = work.entry(index).or_default();
        if role == "task" {
            work.metrics.clone_from(&entry.metrics);
            work.report = entry.report.clone();
        }
        let name = &self.pipeline.nodes[index].name;
        // Only `show` and the reasons of `plan` read this memory: a run does not fail for it.
        let _ = self
            .store
            .remember_node(&self.pipeline.name, &format!("{name}#{role}"), &entry);
        Some(entry)
    }

    /// In a plan, says why the node would run.
    pub(super) fn refuse_in_plan(&self, index: usize, role: &str, fingerprint: &Fingerprint) -> Result<(), Failure> {
        let name = format!("{}#{role}", self.pipeline.nodes[index].name);
        let reason = match self.store.last_of_node(&self.pipeline.name, &name) {
            None => "never ran".to_owned(),
            Some(last) => {
                let changes = changes(&last.parts, fingerprint.parts());
                if changes.is_empty() {
                    "what it published is gone".to_owned()
                } else {
                    changes.join(", ")
                }
            }
        };
        if self.plan_only {
            return Err(Failure::WouldRun(reason));
        }
        let mut work = self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let work = work.entry(index).or_default();
        work.ran = true;
        if work.reason.is_empty() {
            work.reason = reason;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "an entry has this many parts")]
    pub(super) fn publish(
        &self,
        index: usize,
        role: &str,
        fingerprint: &Fingerprint,
        content: Content,
        metrics: BTreeMap<String, f64>,
        report: Report,
        start: Instant,
    ) -> Result<Entry, Failure> {
        let parts: Value = fingerprint.parts().clone();
        let seconds = start.elapsed().as_secs_f64();
        let entry = Entry {
            key: fingerprint.key(),
            parts,
            content,
            metrics,
            report,
            seconds,
        };
        self.store.publish_entry(&entry)?;
        let name = &self.pipeline.nodes[index].name;
        self.store
            .remember_node(&self.pipeline.name, &format!("{name}#{role}"), &entry)?;
        if role == "task" {
            let mut work = self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let work = work.entry(index).or_default();
            work.metrics.clone_from(&entry.metrics);
            work.report = entry.report.clone();
        }
        Ok(entry)
    }

    fn note_rows(&self, index: usize, rows: u64) {
        let mut work = self.work.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work.entry(index).or_default().rows = Some(rows);
    }
}

fn rows_of(path: &std::path::Path) -> Result<u64, Failure> {
    let file = std::fs::File::open(path).map_err(OperatorError::io(path))?;
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(OperatorError::parquet(path))?;
    Ok(u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or_default())
}

fn frames(splits: Vec<(String, datafusion::dataframe::DataFrame)>) -> Vec<(String, LazyTable)> {
    splits
        .into_iter()
        .map(|(name, frame)| (name, LazyTable::from_frame(frame)))
        .collect()
}

pub(super) fn lazies(values: &[NodeValue]) -> Vec<&LazyDataset> {
    values
        .iter()
        .filter_map(|v| {
            if let NodeValue::Dataset { lazy, .. } = v {
                Some(lazy)
            } else {
                None
            }
        })
        .collect()
}

pub(super) fn digest(value: &NodeValue) -> String {
    match value {
        NodeValue::Dataset { recipe, .. } => recipe.clone(),
        NodeValue::Other { digest, .. } => digest.clone(),
    }
}
