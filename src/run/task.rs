//! Tasks: training, encoding, publishing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use towline_api::{Artifact, Context, Inputs, ModelFiles, Output, TableFile, TaskResult};

use crate::plan::{Origin, Step};
use crate::run::attempts::Job;
use crate::run::reuse::{Made, Piece, Role};
use crate::run::runner::{Failure, Runner};
use crate::run::value::NodeValue;
use crate::store::{Blob, Content, Entry, StoredSplit, digest_json};

/// The work of a task or a sink.
type Work<'a> = dyn Fn(&Inputs<Artifact>, &Context) -> towline_api::Result<Output> + 'a;

impl Runner {
    pub(super) fn task(
        &self,
        index: usize,
        work: &Work<'_>,
        inputs: &[NodeValue],
        job: &Job,
    ) -> Result<NodeValue, Failure> {
        let mut artifacts = Vec::new();
        let mut origins = Vec::new();
        for value in inputs {
            let (artifact, origin) = self.readable(index, value, job)?;
            artifacts.push(artifact);
            origins.push(origin);
        }
        let role = Role::Task;
        let mut step = self.step(index, role.word(), origins.iter())?;
        self.add_metrics(index, &artifacts, &mut step);
        let piece = Piece {
            node: index,
            role,
            step,
        };
        let scratch = self.store.scratch(&piece.key());
        let entry = self.produce(piece, || {
            // Unfinished work counts only where somebody asked for it.
            if !self.resume || self.verify_determinism {
                scratch.clear()?;
            }
            let temp = self.store.temp_dir()?;
            let connected = Inputs(self.labelled(index, artifacts.iter().cloned()));
            let Output {
                result,
                metrics,
                report,
            } = work(&connected, &self.context(temp.path(), scratch.path(), job))?;
            let content = self.content(result)?;
            Ok(Made {
                content,
                metrics,
                report,
            })
        })?;
        scratch.clear()?;
        self.value_of(index, &entry)
    }

    /// What was measured of the models on ports that ask for it is a part of the fingerprint.
    fn add_metrics(&self, index: usize, artifacts: &[Artifact], step: &mut Step) {
        let typed = &self.nodes[index];
        let measured = |port: &str| {
            typed
                .descriptor
                .ports
                .iter()
                .any(|own| own.name == port && own.measured)
        };
        for (binding, artifact) in typed.bindings.iter().zip(artifacts) {
            if let Artifact::Model(model) = artifact
                && measured(binding.port)
            {
                let digest = digest_json(&serde_json::json!(crate::store::metrics::json(&model.metrics)));
                step.add("metrics", &Origin::stored("metrics of a model", &digest, None, None));
            }
        }
    }

    /// A value as a task reads it, and what stands for its content.
    fn readable(&self, index: usize, value: &NodeValue, job: &Job) -> Result<(Artifact, Origin), Failure> {
        Ok(match value {
            NodeValue::Dataset {
                stored: Some(stored), ..
            } => (Artifact::Dataset(stored.files.clone()), stored.origin.clone()),
            NodeValue::Dataset { lazy, origin, .. } => {
                let stored = self.stored(index, lazy, origin, job)?;
                (Artifact::Dataset(stored.files), stored.origin)
            }
            NodeValue::Other { artifact, origin } => (artifact.clone(), origin.clone()),
        })
    }

    fn context(&self, temp: &Path, scratch: &Path, job: &Job) -> Context {
        Context {
            progress: Arc::clone(&job.progress),
            cancel: job.cancel.clone(),
            temp: temp.to_owned(),
            scratch: scratch.to_owned(),
            session: self.session.clone(),
            runtime: self.runtime.clone(),
            threads: self.threads,
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
                    let file = TableFile { path, rows: 0 };
                    let (rows, path) = (file.counted_rows()?, file.path);
                    let blob = self.store.publish_blob(&path, "parquet")?;
                    stored.push(StoredSplit { name, blob, rows });
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

    /// What an entry stands for, for those that depend on it.
    fn value_of(&self, index: usize, entry: &Entry) -> Result<NodeValue, Failure> {
        let digest = entry.content_digest();
        let artifact = match &entry.content {
            Content::Dataset { .. } => {
                let stored = self.stored_dataset(self.name(index), entry)?;
                self.note(index, |work| work.rows = stored.origin.rows());
                return Ok(self.dataset(stored));
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
                metrics: entry.metrics.clone(),
            }),
            Content::Receipt { receipt } => Artifact::Receipt(receipt.clone()),
            Content::Metrics | Content::State { .. } => Artifact::Metrics(entry.metrics.clone()),
        };
        let origin = Origin::stored(self.name(index), &digest, None, None);
        Ok(NodeValue::Other { artifact, origin })
    }
}
