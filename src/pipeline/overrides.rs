//! `--set vars.rows=1000`.

use std::str::FromStr;

use towline_operators::contract::suggest;

use crate::document::{Diagnostic, Value, ValueKind, resolve_plain};

/// A value given on the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The keys on the way to the value.
    pub path: Vec<String>,
    /// The value; read like an unquoted YAML scalar.
    pub value: String,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, value) = text
            .split_once('=')
            .ok_or("write it as path=value, for example vars.rows=1000")?;
        let path: Vec<String> = path.split('.').map(|key| key.trim().to_owned()).collect();
        let known = matches!(path.first().map(String::as_str), Some("vars" | "nodes"));
        if !known || path.len() < 2 || path.iter().any(String::is_empty) {
            return Err("the path begins with vars. or nodes., for example vars.rows=1000".to_owned());
        }
        Ok(Override {
            path,
            value: value.to_owned(),
        })
    }
}

/// Replaces values of the tree. A path that is not there is an error: a slip must not pass for a setting.
pub(super) fn apply(root: &mut Value, overrides: &[Override], diagnostics: &mut Vec<Diagnostic>) {
    for given in overrides {
        if let Err(diagnostic) = set(root, given) {
            diagnostics.push(diagnostic);
        }
    }
}

fn set(root: &mut Value, given: &Override) -> Result<(), Diagnostic> {
    let mut value = root;
    for key in &given.path {
        let ValueKind::Mapping(mapping) = &mut value.kind else {
            return Err(unknown(given, key, &[]));
        };
        let known: Vec<String> = mapping.keys().into_iter().map(str::to_owned).collect();
        let Some((_, inner)) = mapping.0.iter_mut().find(|(k, _)| k.text == *key) else {
            return Err(unknown(
                given,
                key,
                &known.iter().map(String::as_str).collect::<Vec<_>>(),
            ));
        };
        value = inner;
    }
    value.kind = resolve_plain(&given.value);
    Ok(())
}

fn unknown(given: &Override, key: &str, known: &[&str]) -> Diagnostic {
    let path = given.path.join(".");
    Diagnostic::error(
        "unknown-key",
        None,
        format!("--set {path}: there is no `{key}` in the pipeline"),
    )
    .help(suggest::sentence(key, known, "keys there"))
}
