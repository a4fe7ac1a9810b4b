//! Overrides from the command line: `--set path=value`.

use std::str::FromStr;

use towline_api::suggest;

use crate::config::yaml;
use crate::config::yaml::{Code, Diagnostic, Mapping, SourceMap, Span, Value, ValueKind, resolve_scalar};

/// One `--set path=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// `vars.<name>...` or `nodes.<node>.with.<key>...`, with dots between the keys.
    pub path: String,
    /// The value, read like an unquoted scalar in the file; one that begins with `[` or `{` is read as YAML.
    pub value: String,
}

/// A text that is no override.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `path=value`, such as `vars.rows=1000`, found `{0}`")]
pub struct BadOverride(pub String);

impl FromStr for Override {
    type Err = BadOverride;

    fn from_str(text: &str) -> Result<Self, BadOverride> {
        match text.split_once('=') {
            Some((path, value)) if !path.trim().is_empty() => Ok(Self {
                path: path.trim().to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(BadOverride(text.to_owned())),
        }
    }
}

/// Replaces values in the tree. A path must exist in the file: a misspelt one would otherwise change nothing, unnoticed.
pub(crate) fn apply(
    sources: &mut SourceMap,
    root: &mut Mapping,
    overrides: &[Override],
    diagnostics: &mut Vec<Diagnostic>,
) {
    for entry in overrides {
        let value = match parse(sources, entry) {
            Ok(value) => value,
            Err(found) => {
                diagnostics.extend(found);
                continue;
            }
        };
        let segments: Vec<&str> = entry.path.split('.').collect();
        match place(root, &segments) {
            Ok(target) => *target = value,
            Err(problem) => diagnostics.push(problem.diagnostic(entry)),
        }
    }
}

/// The value of an override, in a source text of its own, so that diagnostics can point at it.
fn parse(sources: &mut SourceMap, entry: &Override) -> Result<Value, Vec<Diagnostic>> {
    let name = format!("--set {}", entry.path);
    if entry.value.trim_start().starts_with(['[', '{']) {
        return yaml::load(sources, &name, entry.value.as_bytes());
    }
    let file = sources.add(name, entry.value.clone());
    let span = Span {
        file,
        start: 0,
        end: entry.value.len(),
    };
    match resolve_scalar(&entry.value) {
        Ok(kind) => Ok(Value { kind, span }),
        Err(error) => Err(vec![Diagnostic::error(Code::OutOfRange, error.to_string()).at(span)]),
    }
}

struct Problem {
    code: Code,
    message: String,
    help: Option<String>,
}

impl Problem {
    fn diagnostic(self, entry: &Override) -> Diagnostic {
        let message = format!("can't set `{}`: {}", entry.path, self.message);
        let mut diagnostic = Diagnostic::error(self.code, message);
        diagnostic.help = self.help;
        diagnostic
    }
}

fn place<'a>(root: &'a mut Mapping, segments: &[&str]) -> Result<&'a mut Value, Problem> {
    let forbidden = || Problem {
        code: Code::UnknownKey,
        message: "only variables and the configuration of nodes can be set".to_owned(),
        help: Some("write `vars.<name>` or `nodes.<node>.with.<key>`".to_owned()),
    };
    let (outer, inner) = match segments {
        ["vars", _, ..] => (Code::UndefinedVariable, Code::UndefinedVariable),
        ["nodes", _, "with", _, ..] => (Code::UnknownNode, Code::UnknownKey),
        _ => return Err(forbidden()),
    };
    let mut segments = segments.iter().enumerate();
    let Some((_, first)) = segments.next() else {
        return Err(forbidden());
    };
    let mut value = child(root, first).ok_or_else(|| Problem {
        code: outer,
        message: format!("the file has no `{first}`"),
        help: None,
    })?;
    for (at, segment) in segments {
        let code = if at == 1 { outer } else { inner };
        value = step(value, segment).map_err(|help| Problem {
            code,
            message: format!("there is no `{segment}`"),
            help,
        })?;
    }
    Ok(value)
}

/// The value inside another one, or the names that could have been meant.
fn step<'a>(value: &'a mut Value, segment: &str) -> Result<&'a mut Value, Option<String>> {
    match &mut value.kind {
        ValueKind::Mapping(mapping) => {
            if mapping.get(segment).is_none() {
                let known: Vec<&str> = mapping.keys().collect();
                return Err(Some(suggest::sentence(segment, &known, "keys there")));
            }
            child(mapping, segment).ok_or(None)
        }
        ValueKind::Sequence(items) => {
            let length = items.len();
            let item = segment.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            item.ok_or_else(|| Some(format!("the list there has {length} items, counted from 0")))
        }
        _ => Err(None),
    }
}

fn child<'a>(mapping: &'a mut Mapping, key: &str) -> Option<&'a mut Value> {
    let mut entries = mapping.entries.iter_mut();
    entries
        .find(|(candidate, _)| candidate.value == key)
        .map(|(_, value)| value)
}
