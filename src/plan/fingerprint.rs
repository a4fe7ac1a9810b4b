//! What a piece of work depends on: everything that can change its output, and nothing else.
//!
//! Version log: 1, the first.

use serde_json::{Value, json};
use towline_operators::contract::{Built, Descriptor};

use crate::store::digest_json;

/// Counts up when the meaning of a fingerprint changes.
const VERSION: u32 = 1;

/// The parts of a key.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    parts: Value,
}

impl Fingerprint {
    /// The fingerprint of a step. `inputs` has the content digests (or, for what is never stored, the fingerprints) of
    /// what is connected, by port and in order; `role` tells apart the works of one node (its fit, its stored rows).
    pub fn of_step(descriptor: &Descriptor, built: &Built, role: &str, inputs: &[(String, String)]) -> Self {
        let inputs: Vec<Value> = inputs
            .iter()
            .map(|(port, digest)| json!({ "port": port, "digest": digest }))
            .collect();
        Fingerprint {
            parts: json!({
                "version": VERSION,
                "operator": descriptor.name,
                "code": descriptor.code_version,
                "with": built.cache_config,
                "role": role,
                "inputs": inputs,
            }),
        }
    }

    /// The fingerprint of rows that are stored as they are.
    pub fn of_rows(recipe: &str) -> Self {
        Fingerprint {
            parts: json!({ "version": VERSION, "role": "rows", "rows": recipe }),
        }
    }

    /// The fingerprint of a part of a dataset.
    pub fn of_selection(recipe: &str, columns: Option<&[String]>, split: Option<&str>) -> Self {
        let parts =
            json!({ "version": VERSION, "role": "selection", "of": recipe, "columns": columns, "split": split });
        Fingerprint { parts }
    }

    /// What was hashed.
    pub fn parts(&self) -> &Value {
        &self.parts
    }

    /// The key: BLAKE3 of the parts in hex.
    pub fn key(&self) -> String {
        digest_json(&self.parts)
    }
}

/// What differs between two fingerprints, for a person: `with.epochs: 2 -> 3`.
pub fn changes(old: &Value, new: &Value) -> Vec<String> {
    let mut out = Vec::new();
    compare("", old, new, &mut out);
    out
}

fn compare(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    let inner = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                compare(
                    &inner(key),
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                    out,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if path == "inputs" && a.len() == b.len() => {
            for (x, y) in a.iter().zip(b).filter(|(x, y)| x != y) {
                let port = y
                    .get("port")
                    .or_else(|| x.get("port"))
                    .and_then(Value::as_str)
                    .unwrap_or("input");
                out.push(format!("{port} changed"));
            }
        }
        _ if old == new => {}
        _ if path == "rows" => out.push("the rows changed".to_owned()),
        _ => out.push(format!("{path}: {old} -> {new}")),
    }
}
