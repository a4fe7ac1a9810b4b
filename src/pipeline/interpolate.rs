//! `${vars.x}`, `${env.X}`, `${env.X:-default}`; `${secret.X}` is left for the operator that uses it.

use std::collections::BTreeSet;

use towline_operators::contract::suggest;

use crate::document::{Diagnostic, Key, Mapping, Span, Value, ValueKind, resolve_plain};

/// Values that variables may expand to, like the budget for aliases.
const MAX_VALUES: usize = 200_000;

pub(super) struct Interpolator<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    vars: Vec<(Key, Value)>,
    used: BTreeSet<String>,
    produced: usize,
    diagnostics: Vec<Diagnostic>,
}

/// What stands in braces.
enum Part<'t> {
    Text(&'t str),
    Expression { body: &'t str, whole: bool, offset: usize },
}

impl<'a> Interpolator<'a> {
    pub(super) fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let (vars, used, diagnostics) = (Vec::new(), BTreeSet::new(), Vec::new());
        Interpolator {
            env,
            vars,
            used,
            produced: 0,
            diagnostics,
        }
    }

    /// Takes the variables, in order: a variable may use those above it.
    pub(super) fn define(&mut self, vars: Option<&Value>) {
        match vars.map(|value| (&value.kind, value.span)) {
            None | Some((ValueKind::Null, _)) => {}
            Some((ValueKind::Mapping(mapping), _)) => {
                for (key, value) in &mapping.0 {
                    let value = self.resolve(value);
                    self.vars.push((key.clone(), value));
                }
            }
            Some((_, span)) => {
                self.diagnostics.push(Diagnostic::error(
                    "wrong-type",
                    span,
                    "`vars` is a mapping from names to values",
                ));
            }
        }
    }

    /// The diagnostics, with a warning for each variable that nothing used.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        for (key, _) in &self.vars {
            if !self.used.contains(&key.text) {
                let message = format!("nothing uses the variable `{}`", key.text);
                self.diagnostics
                    .push(Diagnostic::warning("unused-variable", key.span, message).help("delete it"));
            }
        }
        self.diagnostics
    }

    /// The value with everything in braces replaced. Depth is bounded by the document's.
    pub(super) fn resolve(&mut self, value: &Value) -> Value {
        self.produced += 1;
        let kind = match &value.kind {
            ValueKind::String(text) if text.contains("${") => self.text(text, value.span),
            ValueKind::Sequence(items) => ValueKind::Sequence(items.iter().map(|item| self.resolve(item)).collect()),
            ValueKind::Mapping(mapping) => {
                let entries = mapping
                    .0
                    .iter()
                    .map(|(key, value)| (key.clone(), self.resolve(value)))
                    .collect();
                ValueKind::Mapping(Mapping(entries))
            }
            other => other.clone(),
        };
        Value { kind, span: value.span }
    }

    fn text(&mut self, text: &str, span: Span) -> ValueKind {
        let mut out = String::new();
        for part in parts(text) {
            match part {
                Part::Text(piece) => out.push_str(piece),
                Part::Expression { body, whole, offset } => {
                    let place = self.place(text, span, offset, body.len());
                    match self.expression(body, place) {
                        Some(kind) if whole => return kind,
                        Some(kind) => out.push_str(&self.inline(&kind, body, place)),
                        None => {}
                    }
                }
            }
        }
        ValueKind::String(out)
    }

    /// The place of an expression: its own if the text stands in the file as it is, or that of the scalar.
    fn place(&self, text: &str, span: Span, offset: usize, length: usize) -> Span {
        let slack = (span.end - span.start).saturating_sub(text.len());
        if slack == 0 || slack == 2 {
            let start = span.start + slack / 2 + offset;
            return Span {
                start,
                end: (start + length).min(span.end),
                ..span
            };
        }
        span
    }

    fn expression(&mut self, body: &str, span: Span) -> Option<ValueKind> {
        if let Some(path) = body.strip_prefix("vars.") {
            return self.variable(path, span);
        }
        if let Some(rest) = body.strip_prefix("env.") {
            let (name, default) = rest
                .split_once(":-")
                .map_or((rest, None), |(name, default)| (name, Some(default)));
            let value = (self.env)(name).filter(|value| !value.is_empty() || default.is_none());
            if let Some(text) = value.or_else(|| default.map(str::to_owned)) {
                return Some(resolve_plain(&text));
            }
            let message = format!("the environment variable {name} is not set");
            let help = format!("set it, or give a default: ${{env.{name}:-default}}");
            self.diagnostics
                .push(Diagnostic::error("unset-env", span, message).help(help));
            return None;
        }
        let message = format!("`${{{body}}}` is neither a variable, an environment variable nor a secret");
        let help = "write ${vars.x}, ${env.X}, ${env.X:-default} or ${secret.X}; $${ stands for ${ itself";
        self.diagnostics
            .push(Diagnostic::error("undefined-variable", span, message).help(help));
        None
    }

    fn variable(&mut self, path: &str, span: Span) -> Option<ValueKind> {
        let mut keys = path.split('.');
        let first = keys.next().unwrap_or_default();
        self.used.insert(first.to_owned());
        let mut value = self
            .vars
            .iter()
            .find(|(key, _)| key.text == first)
            .map(|(_, value)| value);
        for key in keys {
            value = value
                .and_then(|value| value.as_mapping())
                .and_then(|mapping| mapping.get(key));
        }
        let Some(value) = value else {
            let known: Vec<&str> = self.vars.iter().map(|(key, _)| key.text.as_str()).collect();
            let help = suggest::sentence(path, &known, "variables");
            let message = format!("there is no variable `{path}`");
            self.diagnostics
                .push(Diagnostic::error("undefined-variable", span, message).help(help));
            return None;
        };
        let value = value.clone();
        self.produced += size(&value);
        if self.produced > MAX_VALUES {
            let message = "the variables expand to more values than any pipeline has";
            self.diagnostics.push(Diagnostic::error("alias-bomb", span, message));
            return None;
        }
        Some(value.kind)
    }

    fn inline(&mut self, kind: &ValueKind, body: &str, span: Span) -> String {
        match kind {
            ValueKind::Null => String::new(),
            ValueKind::Bool(flag) => flag.to_string(),
            ValueKind::Int(number) => number.to_string(),
            ValueKind::Float(number) => number.to_string(),
            ValueKind::String(text) => text.clone(),
            ValueKind::Sequence(_) | ValueKind::Mapping(_) => {
                let message = format!("`{body}` is not a single value: it cannot stand inside a text");
                self.diagnostics.push(Diagnostic::error("wrong-type", span, message));
                String::new()
            }
        }
    }
}

fn size(value: &Value) -> usize {
    match &value.kind {
        ValueKind::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        ValueKind::Mapping(mapping) => 1 + mapping.0.iter().map(|(_, value)| size(value)).sum::<usize>(),
        ValueKind::String(text) => 1 + text.len() / 64,
        _ => 1,
    }
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut out = Vec::new();
    let mut position = 0;
    while let Some(found) = text[position..].find("${") {
        let start = position + found;
        if text[..start].ends_with('$') {
            out.push(Part::Text(&text[position..start - 1]));
            out.push(Part::Text("${"));
            position = start + 2;
            continue;
        }
        let Some(length) = text[start..].find('}') else { break };
        let body = &text[start + 2..start + length];
        if body.starts_with("secret.") {
            out.push(Part::Text(&text[position..=start + length]));
        } else {
            out.push(Part::Text(&text[position..start]));
            let whole = start == 0 && length + 1 == text.len();
            out.push(Part::Expression {
                body,
                whole,
                offset: start + 2,
            });
        }
        position = start + length + 1;
    }
    out.push(Part::Text(&text[position..]));
    out
}
