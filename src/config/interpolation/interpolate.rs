//! Interpolation of variables and environment variables: `${...}`.

use std::collections::{BTreeMap, HashMap, HashSet};

use towline_api::suggest;

use crate::config::interpolation::template::{Fault, Piece, is_template, pieces};
use crate::config::yaml::{
    Code, Diagnostic, MAX_DEPTH, MAX_EXPANSION, MAX_HINTS, SourceMap, Span, Value, ValueKind, resolve_scalar,
};

/// The state of a variable.
#[derive(Debug)]
pub(crate) enum Variable {
    /// It is defined further down than the value that is being resolved.
    Later,
    /// It has an error of its own, already reported: its uses report nothing.
    Failed,
    /// Its value, fully interpolated.
    Ready(Value),
}

/// Interpolates strings with the variables known so far, and records the environment variables that were read.
pub(crate) struct Interpolator<'a> {
    /// The texts that spans point into.
    pub(crate) sources: &'a SourceMap,
    /// The variables, by name.
    pub(crate) variables: HashMap<String, Variable>,
    /// The environment variables looked up, and whether each was set.
    pub(crate) env_read: BTreeMap<String, bool>,
    /// The diagnostics so far.
    pub(crate) diagnostics: Vec<Diagnostic>,
    env: &'a dyn Fn(&str) -> Option<String>,
    expanded: usize,
    depth: usize,
    failures: usize,
}

impl<'a> Interpolator<'a> {
    /// An interpolator without variables.
    pub(crate) fn new(sources: &'a SourceMap, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            sources,
            variables: HashMap::new(),
            env_read: BTreeMap::new(),
            diagnostics: Vec::new(),
            env,
            expanded: 0,
            depth: 0,
            failures: 0,
        }
    }

    /// The number of errors so far, reported here or where a value came from.
    pub(crate) fn error_count(&self) -> usize {
        self.diagnostics.len() + self.failures
    }

    /// The value with every string in it interpolated, or `None` if any of them is invalid.
    pub(crate) fn whole(&mut self, value: &Value) -> Option<Value> {
        let before = self.failures;
        self.value(value).filter(|_| self.failures == before)
    }

    /// The value with every string in it interpolated. Invalid strings are reported and left out.
    pub(crate) fn value(&mut self, value: &Value) -> Option<Value> {
        let kind = match &value.kind {
            ValueKind::String(text) => {
                let kind = self.string(text, value.span);
                self.failures += usize::from(kind.is_none());
                kind?
            }
            ValueKind::Sequence(items) => {
                self.depth += 1;
                let items = items.iter().filter_map(|item| self.value(item)).collect();
                self.depth -= 1;
                ValueKind::Sequence(items)
            }
            ValueKind::Mapping(mapping) => {
                self.depth += 1;
                let mut mapping = mapping.clone();
                mapping.entries.retain_mut(|(_, entry)| match self.value(entry) {
                    Some(resolved) => {
                        *entry = resolved;
                        true
                    }
                    None => false,
                });
                self.depth -= 1;
                ValueKind::Mapping(mapping)
            }
            other => other.clone(),
        };
        Some(Value { kind, span: value.span })
    }

    /// The interpolated string: a value of any type if it is one interpolation and nothing else, else a string.
    pub(crate) fn string(&mut self, text: &str, span: Span) -> Option<ValueKind> {
        if !is_template(text) {
            return Some(ValueKind::String(text.to_owned()));
        }
        let span_map = self.sources.span_map(span, text);
        let mut pieces = pieces(text);
        if pieces.len() == 1
            && let Some((range, piece)) = pieces.pop()
        {
            let place = span_map.range(range);
            return self.piece(&piece, place);
        }
        let mut whole = String::new();
        let mut sound = true;
        for (range, piece) in pieces {
            match self.part(&piece, span_map.range(range)) {
                Some(part) => whole.push_str(&part),
                None => sound = false,
            }
        }
        (sound && self.charge(1 + whole.len() / 256, span)).then_some(ValueKind::String(whole))
    }

    fn piece(&mut self, piece: &Piece<'_>, span: Span) -> Option<ValueKind> {
        match piece {
            Piece::Text(text) | Piece::Secret(text) => Some(ValueKind::String((*text).to_owned())),
            Piece::Var(path) => self.variable(path, span).map(|value| value.kind),
            Piece::Env { name, default } => {
                let text = self.env(name, *default, span)?;
                match resolve_scalar(&text) {
                    Ok(kind) => Some(kind),
                    Err(error) => {
                        let message = format!("`env.{name}`: {error}");
                        self.report(Code::OutOfRange, message, span);
                        None
                    }
                }
            }
            Piece::Bad(fault) => {
                self.fault(*fault, span);
                None
            }
        }
    }

    /// A piece as a part of a longer string.
    fn part(&mut self, piece: &Piece<'_>, span: Span) -> Option<String> {
        match piece {
            Piece::Env { name, default } => self.env(name, *default, span),
            Piece::Var(path) => {
                let value = self.variable(path, span)?;
                let text = value.to_text();
                if text.is_none() {
                    let message = format!(
                        "`vars.{}` is {} and can't be a part of a string",
                        path.join("."),
                        value.kind_name()
                    );
                    self.report(Code::WrongType, message, span);
                }
                text
            }
            other => match self.piece(other, span)? {
                ValueKind::String(text) => Some(text),
                _ => None,
            },
        }
    }

    fn variable(&mut self, path: &[&str], span: Span) -> Option<Value> {
        let (name, rest) = path.split_first()?;
        let mut value = match self.variables.get(*name) {
            Some(Variable::Ready(value)) => value,
            Some(Variable::Failed) => return None,
            Some(Variable::Later) => {
                let message = format!("`vars.{name}` is used before it is defined");
                let diagnostic = Diagnostic::error(Code::UndefinedVariable, message).at(span);
                self.diagnostics.push(diagnostic.help(format!("move `{name}` up")));
                return None;
            }
            None => {
                let help = self.hint(name, "variables", || sorted(self.variables.keys()));
                self.undefined(format!("there is no variable `{name}`"), help, span);
                return None;
            }
        };
        for (at, segment) in rest.iter().enumerate() {
            let inner = match &value.kind {
                ValueKind::Mapping(mapping) => mapping.get(segment),
                ValueKind::Sequence(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            let Some(inner) = inner else {
                let keys = || value.as_mapping().map(|mapping| mapping.keys().collect());
                let help = self.hint(segment, "keys there", || keys().unwrap_or_default());
                let message = format!("`vars.{}` has no `{segment}`", path[..=at].join("."));
                self.undefined(message, help, span);
                return None;
            };
            value = inner;
        }
        if self.expanded > MAX_EXPANSION {
            return None;
        }
        let (weight, depth) = (value.weight(), value.depth());
        let value = (self.expanded + weight <= MAX_EXPANSION).then(|| value.clone());
        if !self.charge(weight, span) {
            return None;
        }
        if self.depth + depth > MAX_DEPTH {
            let message = format!("with this variable, collections nest more than {MAX_DEPTH} deep");
            self.report(Code::TooDeep, message, span);
            return None;
        }
        value
    }

    fn env(&mut self, name: &str, default: Option<&str>, span: Span) -> Option<String> {
        // As in a shell, `:-` also replaces a variable that is set to nothing.
        let found = (self.env)(name).filter(|text| !(text.is_empty() && default.is_some()));
        self.env_read.insert(name.to_owned(), found.is_some());
        let text = found.or_else(|| default.map(str::to_owned));
        if text.is_none() {
            let message = format!("the environment variable `{name}` is not set");
            let diagnostic = Diagnostic::error(Code::UnsetEnv, message).at(span);
            let help = format!("set it, or give a default: `${{env.{name}:-default}}`");
            self.diagnostics.push(diagnostic.help(help));
        }
        text
    }

    fn fault(&mut self, fault: Fault<'_>, span: Span) {
        match fault {
            Fault::Unclosed => {
                let help = Some("close it with `}`, or write `$${` for the two characters".to_owned());
                self.undefined("`${` is never closed".to_owned(), help, span);
            }
            Fault::Unknown(inner) => {
                let help = if self.variables.contains_key(inner) {
                    format!("did you mean `${{vars.{inner}}}`?")
                } else {
                    "write `${vars.NAME}`, `${env.NAME}` or `${secret.NAME}`; `$${` stands for a plain `${`".to_owned()
                };
                self.undefined(format!("`${{{inner}}}` is not an interpolation"), Some(help), span);
            }
        }
    }

    fn hint<'n>(&self, word: &str, what: &str, names: impl FnOnce() -> Vec<&'n str>) -> Option<String> {
        (self.diagnostics.len() < MAX_HINTS).then(|| suggest::sentence(word, &names(), what))
    }

    /// Adds to the expanded size and returns whether it is within the limit; exceeding it is reported once.
    fn charge(&mut self, weight: usize, span: Span) -> bool {
        let before = self.expanded;
        self.expanded = before.saturating_add(weight);
        if self.expanded <= MAX_EXPANSION {
            return true;
        }
        if before <= MAX_EXPANSION {
            let message = format!("variables add more than {MAX_EXPANSION} values to this file");
            self.report(Code::AliasBomb, message, span);
            self.expanded = MAX_EXPANSION + 1;
        }
        false
    }

    fn undefined(&mut self, message: String, help: Option<String>, span: Span) {
        let mut diagnostic = Diagnostic::error(Code::UndefinedVariable, message).at(span);
        diagnostic.help = help;
        self.diagnostics.push(diagnostic);
    }

    fn report(&mut self, code: Code, message: String, span: Span) {
        self.diagnostics.push(Diagnostic::error(code, message).at(span));
    }
}

/// Adds the names of all variables that strings inside `value` refer to.
pub(crate) fn references(value: &Value, found: &mut HashSet<String>) {
    match &value.kind {
        ValueKind::String(text) if is_template(text) => {
            for (_, piece) in pieces(text) {
                if let Piece::Var(path) = piece {
                    found.extend(path.first().map(|&name| name.to_owned()));
                }
            }
        }
        ValueKind::Sequence(items) => items.iter().for_each(|item| references(item, found)),
        ValueKind::Mapping(mapping) => {
            for (_, entry) in &mapping.entries {
                references(entry, found);
            }
        }
        _ => {}
    }
}

fn sorted<'b>(names: impl Iterator<Item = &'b String>) -> Vec<&'b str> {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_unstable();
    names
}
