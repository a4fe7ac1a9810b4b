//! What flows between nodes that ran: stored datasets, models, metrics and receipts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DatasetFiles, ModelType, Schema, Vocabulary};

/// A stored artifact, as a task receives it.
#[derive(Debug, Clone)]
pub enum Artifact {
    /// Named splits, one Parquet file each.
    Dataset(DatasetFiles),
    /// A trained model.
    Model(ModelFiles),
    /// Named numbers.
    Metrics(BTreeMap<String, f64>),
    /// What a sink published.
    Receipt(Receipt),
    /// Nothing, since the node that should have made it failed, for this reason. Only on a port that is
    /// [tolerant](crate::Port::tolerant).
    Failed(String),
}

/// A stored model.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// Content digest of the artifact: what a publisher writes down to say which model made its output.
    pub digest: String,
    /// What it was trained on.
    pub model_type: ModelType,
    /// The model's own description (architecture, training); `kind` names the family.
    pub description: Value,
    /// Its files, by name (`weights.safetensors`).
    pub files: BTreeMap<String, PathBuf>,
    /// The vocabularies of its categorical columns, by content digest.
    pub vocabularies: BTreeMap<String, Vocabulary>,
    /// What its training measured. Only an operator whose port is [measured](crate::Port::measured) may let its output
    /// depend on it.
    pub metrics: BTreeMap<String, f64>,
}

/// What a sink did outside the store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Where it went, for a person: a path or an address without secrets.
    pub target: String,
    /// How many records were written.
    pub records: u64,
    /// Files that exist because of it, with their size in bytes; if one is gone or changed, the sink runs again.
    #[serde(default)]
    pub files: BTreeMap<PathBuf, u64>,
    /// Anything else worth keeping (counts, generation).
    #[serde(default)]
    pub details: BTreeMap<String, Value>,
}

impl Receipt {
    /// Whether each of its files exists and has the size that was written.
    pub fn has_its_files(&self) -> bool {
        let present = |(path, size): (&PathBuf, &u64)| std::fs::metadata(path).is_ok_and(|meta| meta.len() == *size);
        self.files.iter().all(present)
    }
}

/// What a task hands back. Files lie in the task's temporary folder; the store moves them.
#[derive(Debug)]
pub struct Output {
    /// The result.
    pub result: TaskResult,
    /// Numbers about the work, for the run record and for expectations.
    pub metrics: BTreeMap<String, f64>,
    /// What a person wants to see after the run.
    pub report: Report,
}

impl Output {
    /// A result with neither metrics nor report.
    pub fn new(result: TaskResult) -> Self {
        Output {
            result,
            metrics: BTreeMap::new(),
            report: Report::default(),
        }
    }
}

/// The result of a task, before it is stored.
#[derive(Debug)]
pub enum TaskResult {
    /// A dataset: one finished Parquet file per split.
    Dataset {
        /// Columns with tags and domains, the same in every split.
        schema: Schema,
        /// The splits, in order, each with its file.
        splits: Vec<(String, PathBuf)>,
        /// The vocabularies that the domains name.
        vocabularies: BTreeMap<String, Vocabulary>,
    },
    /// A model.
    Model {
        /// What it was trained on.
        model_type: ModelType,
        /// The model's own description.
        description: Value,
        /// Its files, by name.
        files: BTreeMap<String, PathBuf>,
        /// The vocabularies of its categorical columns.
        vocabularies: BTreeMap<String, Vocabulary>,
    },
    /// Named numbers: the metrics of the [`Output`].
    Metrics,
    /// What a sink published.
    Receipt(Receipt),
}

/// What a person wants to see of a node after a run; kept with the artifact, so that a reused node shows it too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Short facts, in order: (`users`, `1,507`).
    #[serde(default)]
    pub facts: Vec<(String, String)>,
    /// Tables: metrics beside their baselines, sample recommendations.
    #[serde(default)]
    pub tables: Vec<ReportTable>,
    /// Things a person should know though nothing failed.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A small table for a person.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportTable {
    /// What it shows.
    pub title: String,
    /// The heads of its columns.
    pub columns: Vec<String>,
    /// Its rows; each as long as `columns`.
    pub rows: Vec<Vec<String>>,
}

/// What a fit leaves behind: named Parquet tables, and facts.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The tables, by name; the digest is of the file's bytes.
    pub tables: BTreeMap<String, StateTable>,
    /// Small facts (means, counts) as JSON.
    pub facts: BTreeMap<String, Value>,
}

/// A table of a [`State`].
#[derive(Debug, Clone)]
pub struct StateTable {
    /// Content digest of the file.
    pub digest: String,
    /// The file, opened as a vocabulary when it is one.
    pub vocabulary: Vocabulary,
}
