//! What a piece of work depends on: everything that can change its output, and nothing else.
//!
//! Version log:
//! - 1: the first.
//! - 2: the schema of each input, the class of the device and the engine's major version are parts of their own; the
//!   name of an input is a part only where the operator reads it, and then also if it is the name of a node.
//! - 3: where the files of a source lie is no part any more, and their splits are; what a fit or a metric says in numbers is
//!   read back from the store as exactly as it was made.
//! - 4: the device is no part of its own any more: an operator that computes on one has it in its configuration.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use towline_api::{Built, Descriptor};

use crate::store::digest_json;

/// Counts up when the meaning of a fingerprint changes; what was stored before is then made again.
pub const FINGERPRINT_VERSION: u32 = 4;

/// What computes plans. A new major version may write other bytes, or order equal rows otherwise.
pub const ENGINE: &str = "datafusion 55";

/// The parts of a key. What is not here does not count: parallelism, logging, names and order in the YAML, comments,
/// paths and times of files, environment variables that the pipeline does not interpolate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// [`FINGERPRINT_VERSION`].
    pub version: u32,
    /// [`ENGINE`].
    pub engine: String,
    /// What the work is: `task`, `fit`, `rows`, `facts`; or a step of a plan: `read`, `columns`, `table`, `apply`, `selection`.
    pub role: String,
    /// The operator; empty for the engine's own steps.
    pub operator: String,
    /// The operator's code version.
    pub code: u32,
    /// The configuration by meaning.
    pub with: Value,
    /// What is connected, in order.
    pub inputs: Vec<InputPart>,
}

/// One input in a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPart {
    /// The port.
    pub port: String,
    /// The name that the operator knows it by, where it reads names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Digest of its content; for what is never stored, the key of the step that makes it.
    pub digest: String,
    /// Digest of its columns: names, types, tags and domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

impl Fingerprint {
    /// The fingerprint of an operator's work.
    pub fn of_operator(descriptor: &Descriptor, built: &Built, role: &str, inputs: Vec<InputPart>) -> Self {
        Fingerprint {
            operator: descriptor.name.to_owned(),
            code: descriptor.code_version,
            with: built.cache_config.clone(),
            ..Fingerprint::of_engine(role, inputs)
        }
    }

    /// The fingerprint of rows that are stored as they are.
    pub fn of_rows(input: InputPart) -> Self {
        Fingerprint::of_engine("rows", vec![input])
    }

    /// The fingerprint of facts about rows.
    pub fn of_facts(input: InputPart, facts: &[String]) -> Self {
        Fingerprint {
            with: json!({ "facts": facts }),
            ..Fingerprint::of_engine("facts", vec![input])
        }
    }

    /// The fingerprint of a part of a dataset.
    pub fn of_selection(input: InputPart, columns: Option<&[String]>, split: Option<&str>) -> Self {
        Fingerprint {
            with: json!({ "columns": columns, "split": split }),
            ..Fingerprint::of_engine("selection", vec![input])
        }
    }

    fn of_engine(role: &str, inputs: Vec<InputPart>) -> Self {
        Fingerprint {
            version: FINGERPRINT_VERSION,
            engine: ENGINE.to_owned(),
            role: role.to_owned(),
            operator: String::new(),
            code: 0,
            with: Value::Null,
            inputs,
        }
    }

    /// What is hashed: objects have their keys in order.
    pub fn canonical(&self) -> Value {
        // Every field is a string, a number, or JSON already: there is nothing that could not be written.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// The key: BLAKE3 of the canonical JSON, in hex.
    pub fn key(&self) -> String {
        digest_json(&self.canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_the_one_that_is_built_in() {
        let major = datafusion::DATAFUSION_VERSION.split('.').next().unwrap();
        assert_eq!(
            ENGINE,
            format!("datafusion {major}"),
            "and count FINGERPRINT_VERSION up"
        );
    }

    #[test]
    fn canonical_json_has_its_keys_in_order_and_parses_back_to_the_same_key() {
        let input = InputPart {
            port: "input".into(),
            name: None,
            digest: "00".into(),
            schema: Some("11".into()),
        };
        let fingerprint = Fingerprint {
            with: json!({ "z": 1, "a": { "y": 1.5, "b": null } }),
            ..Fingerprint::of_rows(input)
        };
        let text = fingerprint.canonical().to_string();
        assert!(
            text.contains(r#""with":{"a":{"b":null,"y":1.5},"z":1}"#),
            "another feature of serde_json keeps the order of insertion: {text}"
        );
        let back: Fingerprint = serde_json::from_str(&text).unwrap();
        assert_eq!(back.key(), fingerprint.key());
    }
}
