//! What an executor produced, in files of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use towline_api::{ModelType, Receipt, Report, Schema, TableFile, Vocabulary};

/// What the execution of a work item produced.
pub(in crate::run) struct WorkOutput {
    pub(in crate::run) produced: Produced,
    pub(in crate::run) metrics: BTreeMap<String, f64>,
    pub(in crate::run) report: Report,
}

/// The output itself.
pub(in crate::run) enum Produced {
    /// Rows, a file for each split.
    Dataset {
        schema: Schema,
        splits: Vec<(String, TableFile)>,
        vocabularies: BTreeMap<String, Vocabulary>,
    },
    /// What a fit learnt, or facts that were measured.
    State {
        tables: BTreeMap<String, PathBuf>,
        facts: BTreeMap<String, Value>,
    },
    /// A model.
    Model {
        model_type: ModelType,
        description: Value,
        files: BTreeMap<String, PathBuf>,
        vocabularies: BTreeMap<String, Vocabulary>,
    },
    /// Nothing but the metrics.
    Metrics,
    /// What a sink published.
    Receipt(Receipt),
}

impl From<Produced> for WorkOutput {
    fn from(produced: Produced) -> Self {
        WorkOutput {
            produced,
            metrics: BTreeMap::new(),
            report: Report::default(),
        }
    }
}
