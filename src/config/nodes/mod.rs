//! The parser of the entries of `nodes`.

mod chains;
pub(crate) mod parser;
pub(crate) mod settings;
pub(crate) mod unresolved;

use std::sync::Arc;

use towline_api::suggest;

use crate::config::defaults;
use crate::config::interpolation::template::{Piece, pieces};
use crate::config::key_errors::unknown_key;
use crate::config::model::{InvalidParts, Selection};
use crate::config::names::{MAX_NAME_LENGTH, bad_name, is_name};
use crate::config::nodes::parser::{EntryContext, NodeParser};
use crate::config::nodes::unresolved::{UnresolvedInputs, UnresolvedNode, UnresolvedReference};
use crate::config::yaml::{Code, Diagnostic, Mapping, Span, Spanned, Value, ValueKind};

/// The keys that say what a node computes, each with its documentation and its JSON type (`texts` is a list of strings);
/// [`settings::READERS`] has those that say how it is run.
pub(crate) const KEYS: [(&str, &str, &str); 7] = [
    ("op", "The operator. `towline ops` lists them.", "string"),
    (
        "input",
        "The input: a node, `node[columns]`, `node.split`, or a chain.",
        "string",
    ),
    (
        "inputs",
        "Several inputs: a list, or a mapping from ports to nodes.",
        "",
    ),
    ("with", "The parameters of the operator.", "object"),
    (
        "columns",
        "The columns of `input` that are used; without it, all.",
        "texts",
    ),
    ("after", "Nodes that must succeed first, without passing data.", "texts"),
    (
        "sweep",
        "Hyperparameter search: each trial is a node of its own, and the best model is the output.",
        "object",
    ),
];

impl NodeParser<'_> {
    /// Parses every node. One with errors is kept as far as it can be read, so that errors elsewhere
    /// are found and follow-up errors are not reported.
    pub(crate) fn nodes(&mut self, nodes: &Mapping) {
        for (key, value) in &nodes.entries {
            if !is_name(&key.value) {
                self.report(bad_name("node", key));
                // The name goes into the name of every step of a chain.
                if key.value.len() > MAX_NAME_LENGTH {
                    continue;
                }
            }
            let mut entry_context = EntryContext {
                key,
                generated_count: 0,
                resolved: false,
                chain: Arc::from(""),
            };
            if let Some(value) = self.resolve_whole(value, &mut entry_context) {
                self.node(&value, &mut entry_context);
            }
        }
    }

    fn node(&mut self, value: &Value, entry_context: &mut EntryContext<'_>) {
        match &value.kind {
            ValueKind::String(text) => self.chain_node(text, value.span, entry_context),
            ValueKind::Mapping(mapping) => self.mapping_node(mapping, entry_context),
            _ => {
                let message = format!(
                    "the node `{}` must be a mapping or a chain, not {}",
                    entry_context.key.value,
                    value.kind_name()
                );
                let help = "write a mapping with `op`, or a chain such as `source >> Operator`";
                self.report(Diagnostic::error(Code::WrongType, message).at(value.span).help(help));
            }
        }
    }

    fn mapping_node(&mut self, mapping: &Mapping, entry_context: &mut EntryContext<'_>) {
        let known: Vec<&str> = KEYS.iter().map(|(key, ..)| *key).chain(settings::keys()).collect();
        // A misspelt key must not be reported as missing too.
        let mut misspelt_keys = Vec::new();
        for (key, _) in &mapping.entries {
            if !known.contains(&key.value.as_str()) {
                self.report(unknown_key(key, "a node", &known));
                misspelt_keys.extend(suggest::nearest(&key.value, &known));
            }
        }
        self.check_order(mapping);
        let (op, config, inputs, invalid) = self.computation(mapping, entry_context, &misspelt_keys);
        let mut unresolved = UnresolvedNode {
            name: entry_context.key.value.clone(),
            span: entry_context.key.span,
            op,
            config,
            inputs,
            after: self.texts(mapping, "after", entry_context),
            settings: self.settings(mapping, entry_context),
            invalid,
            generated: false,
            chain_text: None,
        };
        match mapping.get("sweep") {
            Some(sweep) => self.expand_sweep(unresolved, sweep, entry_context),
            None => {
                defaults::apply(&self.defaults, &unresolved.op.value, &mut unresolved.config);
                self.unresolved.push(unresolved);
            }
        }
    }

    /// The operator, parameters and inputs of a node, and which of them are invalid; `misspelt_keys` are the known keys
    /// nearest to those that were misspelt.
    pub(crate) fn computation(
        &mut self,
        mapping: &Mapping,
        entry_context: &mut EntryContext<'_>,
        misspelt_keys: &[&str],
    ) -> (Spanned<String>, Value, UnresolvedInputs, InvalidParts) {
        let (op, op_invalid) =
            self.track_errors(|parser| parser.op(mapping, entry_context, misspelt_keys.contains(&"op")));
        let (config, config_invalid) = self.track_errors(|parser| parser.config(mapping, op.span, entry_context));
        let (inputs, inputs_invalid) = self.track_errors(|parser| {
            let mut inputs = parser.inputs(mapping, entry_context);
            parser.columns_key(mapping, &mut inputs, entry_context);
            inputs
        });
        let invalid = InvalidParts {
            op: op_invalid || misspelt_keys.contains(&"op"),
            config: config_invalid || misspelt_keys.contains(&"with"),
            inputs: inputs_invalid
                || misspelt_keys
                    .iter()
                    .any(|key| matches!(*key, "input" | "inputs" | "columns")),
        };
        (op, config, inputs, invalid)
    }

    fn check_order(&mut self, mapping: &Mapping) {
        let place = |name: &str| mapping.entries.iter().position(|(key, _)| key.value == name);
        if let (Some(op), Some(with)) = (place("op"), place("with"))
            && with < op
        {
            let diagnostic = Diagnostic::error(Code::KeyOrder, "`op` must come before `with`")
                .at(mapping.entries[op].0.span)
                .label("move this up")
                .related(mapping.entries[with].0.span, "its configuration");
            self.report(diagnostic);
        }
    }

    fn op(&mut self, mapping: &Mapping, entry_context: &EntryContext<'_>, misspelt: bool) -> Spanned<String> {
        // The empty name is a placeholder for one that was reported: such a pipeline is not used.
        let nameless = |span| Spanned::new(String::new(), span);
        let Some(value) = mapping.get("op") else {
            if misspelt {
                return nameless(entry_context.key.span);
            }
            let name = &entry_context.key.value;
            let diagnostic = Diagnostic::error(Code::MissingKey, format!("the node `{name}` has no `op`"))
                .at(entry_context.key.span)
                .help("add `op:` with the name of an operator");
            self.report(diagnostic);
            return nameless(entry_context.key.span);
        };
        match self.interpolate(value, entry_context) {
            Some(Value {
                kind: ValueKind::String(text),
                span,
            }) if !text.is_empty() => Spanned::new(text, span),
            Some(other) => {
                self.wrong_type("`op` must be the name of an operator", &other);
                nameless(value.span)
            }
            None => nameless(value.span),
        }
    }

    fn config(&mut self, mapping: &Mapping, op: Span, entry_context: &EntryContext<'_>) -> Value {
        let value = mapping
            .get("with")
            .and_then(|value| self.interpolate(value, entry_context));
        match value {
            Some(value) if value.as_mapping().is_some() => value,
            Some(value) if value.kind == ValueKind::Null => Value::empty_mapping(value.span),
            Some(value) => {
                self.wrong_type("`with` must be a mapping", &value);
                Value::empty_mapping(value.span)
            }
            None => Value::empty_mapping(op),
        }
    }

    fn inputs(&mut self, mapping: &Mapping, entry_context: &mut EntryContext<'_>) -> UnresolvedInputs {
        let (one, several) = (mapping.entry("input"), mapping.entry("inputs"));
        if let (Some((one, _)), Some((several, _))) = (one, several) {
            let diagnostic = Diagnostic::error(Code::Conflict, "`input` and `inputs` exclude each other")
                .at(several.span)
                .label("remove one of them")
                .related(one.span, "the other");
            self.report(diagnostic);
        }
        if let Some((_, value)) = one {
            let reference = self.source(value, "`input`", entry_context);
            return reference.map_or(UnresolvedInputs::None, UnresolvedInputs::One);
        }
        match several {
            Some((_, value)) => self.several_inputs(value, entry_context),
            None => UnresolvedInputs::None,
        }
    }

    fn several_inputs(&mut self, value: &Value, entry_context: &mut EntryContext<'_>) -> UnresolvedInputs {
        let before = entry_context.resolved;
        let Some(value) = self.resolve_whole(value, entry_context) else {
            return UnresolvedInputs::None;
        };
        let inputs = match &value.kind {
            ValueKind::Sequence(items) => {
                let list = items
                    .iter()
                    .filter_map(|item| self.source(item, "an entry of `inputs`", entry_context));
                UnresolvedInputs::List(list.collect())
            }
            ValueKind::Mapping(ports) => {
                let mut named = Vec::new();
                for (port, value) in &ports.entries {
                    let what = format!("the input `{}`", port.value);
                    let reference = self.source(value, &what, entry_context);
                    named.extend(reference.map(|reference| (port.clone(), reference)));
                }
                UnresolvedInputs::Named(named)
            }
            _ => {
                self.wrong_type(
                    "`inputs` must be a mapping from ports to nodes, or a list of nodes",
                    &value,
                );
                UnresolvedInputs::None
            }
        };
        entry_context.resolved = before;
        inputs
    }

    /// A reference or a chain; the nodes of a chain are made on the way.
    fn source(
        &mut self,
        value: &Value,
        what: &str,
        entry_context: &mut EntryContext<'_>,
    ) -> Option<UnresolvedReference> {
        let before = entry_context.resolved;
        let value = self.resolve_whole(value, entry_context)?;
        let reference = if let ValueKind::String(text) = &value.kind {
            self.chain_input(text, value.span, entry_context)
        } else {
            self.wrong_type(&format!("{what} must be a node or a chain"), &value);
            None
        };
        entry_context.resolved = before;
        reference
    }

    /// A string that is one interpolation and nothing else is replaced as a whole, and what it stands for is not
    /// interpolated again; any other is left to the chain parser, which knows where in it a piece stands.
    fn resolve_whole(&mut self, value: &Value, entry_context: &mut EntryContext<'_>) -> Option<Value> {
        if entry_context.resolved || !is_interpolation(value) {
            return Some(value.clone());
        }
        let value = self.interpolator.value(value)?;
        entry_context.resolved = true;
        Some(value)
    }

    fn columns_key(&mut self, mapping: &Mapping, inputs: &mut UnresolvedInputs, entry_context: &EntryContext<'_>) {
        let Some((key, _)) = mapping.entry("columns") else {
            return;
        };
        let columns: Vec<Selection> = self
            .texts(mapping, "columns", entry_context)
            .into_iter()
            .map(Selection::Column)
            .collect();
        match inputs {
            UnresolvedInputs::One(reference) if reference.columns.is_none() => reference.columns = Some(columns),
            UnresolvedInputs::One(reference) => {
                let diagnostic = Diagnostic::error(Code::Conflict, "the columns are selected twice")
                    .at(key.span)
                    .label("remove this, or the brackets")
                    .related(reference.span, "selected here");
                self.report(diagnostic);
            }
            // An invalid `input` was reported already.
            UnresolvedInputs::None if mapping.get("input").is_some() => {}
            _ => {
                let diagnostic = Diagnostic::error(Code::Conflict, "`columns` goes with a single `input` only")
                    .at(key.span)
                    .help("select columns in the reference instead: `node[a, b]`");
                self.report(diagnostic);
            }
        }
    }

    fn texts(&mut self, mapping: &Mapping, key: &str, entry_context: &EntryContext<'_>) -> Vec<Spanned<String>> {
        let value = mapping
            .get(key)
            .and_then(|value| self.interpolate(value, entry_context));
        let Some(value) = value else {
            return Vec::new();
        };
        let Some(items) = value.as_sequence() else {
            self.wrong_type(&format!("`{key}` must be a list of strings"), &value);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.as_str() {
                Some(text) => texts.push(Spanned::new(text.to_owned(), item.span)),
                None => self.wrong_type(&format!("an entry of `{key}` must be a string"), item),
            }
        }
        texts
    }
}

fn is_interpolation(value: &Value) -> bool {
    let pieces = value.as_str().map(pieces).unwrap_or_default();
    matches!(pieces.as_slice(), [(_, Piece::Var(_) | Piece::Env { .. })])
}
