//! What the digests in a fingerprint stand for, so that a person is told "349,630 rows" and not a digest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use towline_api::Schema;

use crate::plan::fingerprint::{Fingerprint, InputPart};
use crate::store::digest_json;

/// A digest and what it stands for: stored content, a file, or a step on top of others that is never stored. Steps share
/// what is below them, so that a long chain costs no more than its length.
#[derive(Debug, Clone)]
pub struct Origin(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    digest: String,
    schema: Option<String>,
    note: OriginNote,
    below: Vec<Origin>,
}

/// What a person is told of a digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OriginNote {
    /// The node or the file.
    pub label: String,
    /// Its rows, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The size of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Names and types of its columns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// What makes it, if it is never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Fingerprint>,
}

/// A fingerprint with what its digests stand for; kept beside the entry of its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What was hashed.
    pub fingerprint: Fingerprint,
    /// What the digests in it stand for, and those in the steps among them, and so on.
    pub origins: BTreeMap<String, OriginNote>,
}

/// A piece of work, or a step of a plan: its fingerprint, and what the digests in it stand for.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is hashed.
    pub fingerprint: Fingerprint,
    inputs: Vec<Origin>,
}

impl Origin {
    /// Content in the store.
    pub fn stored(label: &str, digest: &str, rows: Option<u64>, schema: Option<&Schema>) -> Self {
        Origin::new(digest.to_owned(), label, rows, None, schema, None, Vec::new())
    }

    /// A file outside the store.
    pub fn file(path: &Path, digest: &str, bytes: u64) -> Self {
        let label = path.display().to_string();
        Origin::new(digest.to_owned(), &label, None, Some(bytes), None, None, Vec::new())
    }

    fn new(
        digest: String,
        label: &str,
        rows: Option<u64>,
        bytes: Option<u64>,
        schema: Option<&Schema>,
        step: Option<Fingerprint>,
        below: Vec<Origin>,
    ) -> Self {
        let columns = schema.into_iter().flat_map(|schema| &schema.columns);
        let note = OriginNote {
            label: label.to_owned(),
            rows,
            bytes,
            columns: columns.map(|c| (c.name.clone(), c.data_type.to_string())).collect(),
            step,
        };
        let schema = schema.map(|schema| digest_json(&serde_json::json!(schema)));
        Origin(Arc::new(Inner {
            digest,
            schema,
            note,
            below,
        }))
    }

    /// The digest.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// Rows, where they are known.
    pub fn rows(&self) -> Option<u64> {
        self.0.note.rows
    }

    /// The node or the file.
    pub fn label(&self) -> &str {
        &self.0.note.label
    }

    /// The input that it is on a port.
    pub fn part(&self, port: &str, name: Option<&str>) -> InputPart {
        InputPart {
            port: port.to_owned(),
            name: name.map(str::to_owned),
            digest: self.0.digest.clone(),
            schema: self.0.schema.clone(),
        }
    }
}

impl Step {
    /// A step whose fingerprint has these inputs, in this order.
    pub fn new(inputs: Vec<Origin>, fingerprint: Fingerprint) -> Self {
        Step { fingerprint, inputs }
    }

    /// Adds an input that is not connected but comes about on the way.
    pub fn add(&mut self, port: &str, input: &Origin) {
        self.fingerprint.inputs.push(input.part(port, None));
        self.inputs.push(input.clone());
    }

    /// The rows of a dataset, stored as they are.
    pub fn rows(of: &Origin) -> Self {
        Step::new(vec![of.clone()], Fingerprint::of_rows(of.part("rows", None)))
    }

    /// Facts about the rows of a dataset.
    pub fn facts(of: &Origin, facts: &[String]) -> Self {
        Step::new(vec![of.clone()], Fingerprint::of_facts(of.part("rows", None), facts))
    }

    /// What stands for the output of a step that is never stored.
    pub fn origin(self, label: &str, rows: Option<u64>, schema: &Schema) -> Origin {
        let digest = self.fingerprint.key();
        let Step { fingerprint, inputs } = self;
        Origin::new(digest, label, rows, None, Some(schema), Some(fingerprint), inputs)
    }

    /// The fingerprint with what its digests stand for.
    pub fn explanation(&self) -> Explanation {
        let mut origins = BTreeMap::new();
        let mut open: Vec<&Origin> = self.inputs.iter().collect();
        while let Some(Origin(origin)) = open.pop() {
            if !origins.contains_key(&origin.digest) {
                origins.insert(origin.digest.clone(), origin.note.clone());
                open.extend(&origin.below);
            }
        }
        Explanation {
            fingerprint: self.fingerprint.clone(),
            origins,
        }
    }
}
