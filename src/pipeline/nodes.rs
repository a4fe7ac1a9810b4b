//! The mapping under `nodes:` to raw nodes, whose references are still names.

use towline_operators::contract::suggest;

use crate::document::{Diagnostic, Key, Mapping, SourceMap, Span, Value, ValueKind};

use super::chain::{self, Term};
use super::expand::Expansion;
use super::{CacheMode, LoadOptions, Selection, Spanned};

/// A node whose references are names.
#[derive(Debug)]
pub(super) struct RawNode {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) op: Spanned<String>,
    pub(super) config: Value,
    pub(super) inputs: RawInputs,
    pub(super) after: Vec<Spanned<String>>,
    pub(super) cache: CacheMode,
    pub(super) generated: bool,
}

#[derive(Debug)]
pub(super) enum RawInputs {
    None,
    One(Term),
    List(Vec<Term>),
    Named(Vec<(Spanned<String>, Term)>),
}

const NODE_KEYS: [&str; 7] = ["op", "input", "inputs", "with", "columns", "after", "cache"];

pub(super) fn refuse_unknown_keys(mapping: &Mapping, known: &[&str], of: &str, diagnostics: &mut Vec<Diagnostic>) {
    for (key, _) in &mapping.0 {
        if !known.contains(&key.text.as_str()) {
            let message = format!("`{}` is not a key {of}", key.text);
            let help = suggest::sentence(&key.text, known, "keys");
            diagnostics.push(Diagnostic::error("unknown-key", key.span, message).help(help));
        }
    }
}

pub(super) fn read_nodes(
    sources: &SourceMap,
    mapping: &Mapping,
    options: &LoadOptions<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<RawNode> {
    let mut reader = Reader {
        sources,
        options,
        diagnostics,
        nodes: Vec::new(),
    };
    for (key, value) in &mapping.0 {
        reader.node(key, value);
    }
    reader.nodes
}

struct Reader<'a> {
    sources: &'a SourceMap,
    options: &'a LoadOptions<'a>,
    diagnostics: &'a mut Vec<Diagnostic>,
    nodes: Vec<RawNode>,
}

impl Reader<'_> {
    fn node(&mut self, key: &Key, value: &Value) {
        let valid = key.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && key.text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        if !valid {
            let message = format!("`{}` cannot be the name of a node", key.text);
            let help = "a name begins with a letter and goes on with letters, digits, _ and -";
            self.diagnostics
                .push(Diagnostic::error("bad-name", key.span, message).help(help));
        }
        match &value.kind {
            ValueKind::String(text) => self.chain(key, text, value.span),
            ValueKind::Mapping(mapping) => self.mapping(key, value, mapping),
            _ => {
                let message = format!(
                    "the node `{}` is {}; a node is a mapping or a chain",
                    key.text,
                    value.describe()
                );
                self.diagnostics
                    .push(Diagnostic::error("wrong-type", value.span, message));
            }
        }
    }

    fn chain(&mut self, key: &Key, text: &str, span: Span) {
        match chain::parse(self.sources, text, span) {
            Ok(expression) => {
                let mut expansion = Expansion::new(&key.text, key.span, self.options);
                expansion.define(expression);
                self.nodes.append(&mut expansion.nodes);
            }
            Err(diagnostic) => self.diagnostics.push(diagnostic),
        }
    }

    fn mapping(&mut self, key: &Key, value: &Value, mapping: &Mapping) {
        refuse_unknown_keys(mapping, &NODE_KEYS, "of a node", self.diagnostics);
        let Some((op_key, op)) = mapping.entry("op") else {
            let message = format!("the node `{}` does not say its operator", key.text);
            self.diagnostics
                .push(Diagnostic::error("missing-key", key.span, message).help("add `op: NAME`"));
            return;
        };
        let Some(op_name) = self.text(op, "op") else { return };
        let with = mapping.entry("with");
        if let Some((with_key, _)) = with.filter(|(with_key, _)| with_key.span.start < op_key.span.start) {
            let message = format!("in the node `{}`, `with` comes before `op`", key.text);
            let help = "put `op` first: it says what `with` means";
            self.diagnostics
                .push(Diagnostic::error("conflict", with_key.span, message).help(help));
        }
        let mut expansion = Expansion::new(&key.text, key.span, self.options);
        let inputs = self.inputs(key, mapping, &mut expansion);
        let config = self.config(with, op.span);
        let after = self.after(mapping.get("after"));
        let cache = self.cache(mapping.get("cache"));
        let op = Spanned {
            value: op_name,
            span: op.span,
        };
        self.nodes.append(&mut expansion.nodes);
        let span = if key.text.is_empty() { value.span } else { key.span };
        let name = key.text.clone();
        self.nodes.push(RawNode {
            name,
            span,
            op,
            config,
            inputs,
            after,
            cache,
            generated: false,
        });
    }

    fn config(&mut self, with: Option<&(Key, Value)>, place: Span) -> Value {
        match with {
            Some((_, value)) if matches!(value.kind, ValueKind::Mapping(_)) => value.clone(),
            None => Value {
                kind: ValueKind::Mapping(Mapping::default()),
                span: place,
            },
            Some((_, value)) => {
                if !matches!(value.kind, ValueKind::Null) {
                    let message = format!(
                        "`with` is a mapping from parameters to values; this is {}",
                        value.describe()
                    );
                    self.diagnostics
                        .push(Diagnostic::error("wrong-type", value.span, message));
                }
                Value {
                    kind: ValueKind::Mapping(Mapping::default()),
                    span: place,
                }
            }
        }
    }

    fn inputs(&mut self, key: &Key, mapping: &Mapping, expansion: &mut Expansion<'_>) -> RawInputs {
        let (input, inputs) = (mapping.entry("input"), mapping.entry("inputs"));
        if let (Some((one, _)), Some((many, _))) = (input, inputs) {
            let message = format!("the node `{}` has both `input` and `inputs`", key.text);
            self.diagnostics
                .push(Diagnostic::error("conflict", many.span, message).related(one.span, "and this"));
        }
        let mut out = match (input, inputs) {
            (Some((_, value)), _) => self.term(value, expansion).map_or(RawInputs::None, RawInputs::One),
            (None, Some((_, value))) => self.many(value, expansion),
            (None, None) => RawInputs::None,
        };
        if let Some((columns_key, columns)) = mapping.entry("columns") {
            let selected = self
                .words(columns, "columns")
                .into_iter()
                .map(Selection::Column)
                .collect::<Vec<_>>();
            match &mut out {
                RawInputs::One(term) if term.columns.is_none() => term.columns = Some(selected),
                _ => {
                    let message = "`columns` selects from a single `input` that has no selection of its own";
                    self.diagnostics
                        .push(Diagnostic::error("conflict", columns_key.span, message));
                }
            }
        }
        out
    }

    fn many(&mut self, value: &Value, expansion: &mut Expansion<'_>) -> RawInputs {
        match &value.kind {
            ValueKind::Sequence(items) => {
                RawInputs::List(items.iter().filter_map(|item| self.term(item, expansion)).collect())
            }
            ValueKind::Mapping(mapping) => RawInputs::Named(
                mapping
                    .0
                    .iter()
                    .filter_map(|(key, value)| {
                        let name = Spanned {
                            value: key.text.clone(),
                            span: key.span,
                        };
                        self.term(value, expansion).map(|term| (name, term))
                    })
                    .collect(),
            ),
            _ => {
                let message = format!(
                    "`inputs` is a list of nodes or a mapping from ports to nodes; this is {}",
                    value.describe()
                );
                self.diagnostics
                    .push(Diagnostic::error("wrong-type", value.span, message));
                RawInputs::None
            }
        }
    }

    fn term(&mut self, value: &Value, expansion: &mut Expansion<'_>) -> Option<Term> {
        let text = self.text(value, "an input")?;
        match chain::parse(self.sources, &text, value.span) {
            Ok(expression) => Some(expansion.term(expression)),
            Err(diagnostic) => {
                self.diagnostics.push(diagnostic);
                None
            }
        }
    }

    fn after(&mut self, value: Option<&Value>) -> Vec<Spanned<String>> {
        value.map_or_else(Vec::new, |value| self.words(value, "after"))
    }

    fn cache(&mut self, value: Option<&Value>) -> CacheMode {
        match value.map(|value| (value.as_str(), value.span)) {
            None | Some((Some("auto"), _)) => CacheMode::Auto,
            Some((Some("never"), _)) => CacheMode::Never,
            Some((_, span)) => {
                let message = "`cache` is `auto` or `never`";
                self.diagnostics.push(Diagnostic::error("bad-config", span, message));
                CacheMode::Auto
            }
        }
    }

    fn words(&mut self, value: &Value, what: &str) -> Vec<Spanned<String>> {
        match &value.kind {
            ValueKind::Sequence(items) => items
                .iter()
                .filter_map(|item| self.text(item, what).map(|value| Spanned { value, span: item.span }))
                .collect(),
            _ => {
                let message = format!("`{what}` is a list of names; this is {}", value.describe());
                self.diagnostics
                    .push(Diagnostic::error("wrong-type", value.span, message));
                Vec::new()
            }
        }
    }

    fn text(&mut self, value: &Value, what: &str) -> Option<String> {
        if let Some(text) = value.as_str() {
            return Some(text.to_owned());
        }
        let message = format!("`{what}` takes a name; this is {}", value.describe());
        self.diagnostics
            .push(Diagnostic::error("wrong-type", value.span, message));
        None
    }
}
