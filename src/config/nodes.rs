//! The entries of `nodes`, read into drafts.

use std::sync::Arc;

use towline_api::suggest;

use crate::config::expand::{Draft, DraftInputs, DraftReference, Drafter, Owner};
use crate::config::interpolation::template::{Piece, pieces};
use crate::config::model::{Holes, Selection};
use crate::config::names::{LONGEST_NAME, bad_name, is_name};
use crate::config::yaml::{Code, Diagnostic, Key, Mapping, Span, Spanned, Value, ValueKind};
use crate::config::{defaults, settings};

/// The keys that say what a node computes, each with its documentation and its JSON type (`texts` is a list of strings);
/// [`settings::READERS`] has those that say how it is run.
pub(crate) const KEYS: [(&str, &str, &str); 7] = [
    (
        "op",
        "The operator: what the node does. `towline ops` lists them.",
        "string",
    ),
    (
        "input",
        "Where the data comes from: a node, `node[columns]`, `node.split`, or a chain.",
        "string",
    ),
    (
        "inputs",
        "Where the data comes from, if there is more than one: a list, or a mapping from ports to nodes.",
        "",
    ),
    ("with", "The parameters of the operator.", "object"),
    (
        "columns",
        "The columns of `input` that are used; without it, all.",
        "texts",
    ),
    (
        "after",
        "Nodes that must have succeeded before, although no data comes from them.",
        "texts",
    ),
    (
        "sweep",
        "Other values of some parameters to try: each trial is a node of its own, and the best model is handed on.",
        "object",
    ),
];

impl Drafter<'_> {
    /// Reads every node. One with mistakes still becomes a draft as far as it can be read, so that mistakes elsewhere
    /// are found and none is reported that only follows from it.
    pub(crate) fn nodes(&mut self, nodes: &Mapping) {
        for (key, value) in &nodes.entries {
            if !is_name(&key.value) {
                self.report(bad_name("node", key));
                // The name goes into the name of every step of a chain.
                if key.value.len() > LONGEST_NAME {
                    continue;
                }
            }
            let mut owner = Owner {
                key,
                made: 0,
                resolved: false,
                chain: Arc::from(""),
            };
            if let Some(value) = self.resolve_whole(value, &mut owner) {
                self.node(&value, &mut owner);
            }
        }
    }

    fn node(&mut self, value: &Value, owner: &mut Owner<'_>) {
        match &value.kind {
            ValueKind::String(text) => self.chain_node(text, value.span, owner),
            ValueKind::Mapping(mapping) => self.mapping_node(mapping, owner),
            _ => {
                let message = format!(
                    "the node `{}` must be a mapping or a chain, not {}",
                    owner.key.value,
                    value.kind_name()
                );
                let help = "write a mapping with `op`, or a chain such as `source >> Operator`";
                self.report(Diagnostic::error(Code::WrongType, message).at(value.span).help(help));
            }
        }
    }

    fn mapping_node(&mut self, mapping: &Mapping, owner: &mut Owner<'_>) {
        let known: Vec<&str> = KEYS.iter().map(|(key, ..)| *key).chain(settings::keys()).collect();
        // What a misspelt key was meant to say is not missing as well.
        let mut meant = Vec::new();
        for (key, _) in &mapping.entries {
            if !known.contains(&key.value.as_str()) {
                self.report(unknown_key(key, "a node", &known));
                meant.extend(suggest::nearest(&key.value, &known));
            }
        }
        self.check_order(mapping);
        let (op, config, inputs, holes) = self.work(mapping, owner, &meant);
        let mut draft = Draft {
            name: owner.key.value.clone(),
            span: owner.key.span,
            op,
            config,
            inputs,
            after: self.texts(mapping, "after", owner),
            settings: self.settings(mapping, owner),
            holes,
            generated: false,
            chain_text: None,
        };
        match mapping.get("sweep") {
            Some(sweep) => self.swept(draft, sweep, owner),
            None => {
                defaults::apply(&self.defaults, &draft.op.value, &mut draft.config);
                self.drafts.push(draft);
            }
        }
    }

    /// What a node computes and from what, and which of that could not be read; `meant` are the keys that were misspelt.
    pub(crate) fn work(
        &mut self,
        mapping: &Mapping,
        owner: &mut Owner<'_>,
        meant: &[&str],
    ) -> (Spanned<String>, Value, DraftInputs, Holes) {
        let (op, op_hole) = self.watch(|drafter| drafter.op(mapping, owner, meant.contains(&"op")));
        let (config, config_hole) = self.watch(|drafter| drafter.config(mapping, op.span, owner));
        let (inputs, inputs_hole) = self.watch(|drafter| {
            let mut inputs = drafter.inputs(mapping, owner);
            drafter.columns_key(mapping, &mut inputs, owner);
            inputs
        });
        let holes = Holes {
            op: op_hole || meant.contains(&"op"),
            config: config_hole || meant.contains(&"with"),
            inputs: inputs_hole || meant.iter().any(|key| matches!(*key, "input" | "inputs" | "columns")),
        };
        (op, config, inputs, holes)
    }

    fn check_order(&mut self, mapping: &Mapping) {
        let place = |name: &str| mapping.entries.iter().position(|(key, _)| key.value == name);
        if let (Some(op), Some(with)) = (place("op"), place("with"))
            && with < op
        {
            let diagnostic = Diagnostic::error(Code::KeyOrder, "`op` must stand before `with`")
                .at(mapping.entries[op].0.span)
                .label("move this up")
                .related(mapping.entries[with].0.span, "its configuration");
            self.report(diagnostic);
        }
    }

    fn op(&mut self, mapping: &Mapping, owner: &Owner<'_>, misspelt: bool) -> Spanned<String> {
        // The empty name stands in for one that has been complained about: the pipeline isn't used then.
        let nameless = |span| Spanned::new(String::new(), span);
        let Some(value) = mapping.get("op") else {
            if misspelt {
                return nameless(owner.key.span);
            }
            let name = &owner.key.value;
            let diagnostic = Diagnostic::error(Code::MissingKey, format!("the node `{name}` has no `op`"))
                .at(owner.key.span)
                .help("add `op:` with the name of an operator");
            self.report(diagnostic);
            return nameless(owner.key.span);
        };
        match self.interpolate(value, owner) {
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

    fn config(&mut self, mapping: &Mapping, op: Span, owner: &Owner<'_>) -> Value {
        let value = mapping.get("with").and_then(|value| self.interpolate(value, owner));
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

    fn inputs(&mut self, mapping: &Mapping, owner: &mut Owner<'_>) -> DraftInputs {
        let (one, several) = (mapping.entry("input"), mapping.entry("inputs"));
        if let (Some((one, _)), Some((several, _))) = (one, several) {
            let diagnostic = Diagnostic::error(Code::Conflict, "`input` and `inputs` exclude each other")
                .at(several.span)
                .label("remove one of them")
                .related(one.span, "the other");
            self.report(diagnostic);
        }
        if let Some((_, value)) = one {
            let reference = self.source(value, "`input`", owner);
            return reference.map_or(DraftInputs::None, DraftInputs::One);
        }
        match several {
            Some((_, value)) => self.several_inputs(value, owner),
            None => DraftInputs::None,
        }
    }

    fn several_inputs(&mut self, value: &Value, owner: &mut Owner<'_>) -> DraftInputs {
        let before = owner.resolved;
        let Some(value) = self.resolve_whole(value, owner) else {
            return DraftInputs::None;
        };
        let inputs = match &value.kind {
            ValueKind::Sequence(items) => {
                let list = items
                    .iter()
                    .filter_map(|item| self.source(item, "an entry of `inputs`", owner));
                DraftInputs::List(list.collect())
            }
            ValueKind::Mapping(ports) => {
                let mut named = Vec::new();
                for (port, value) in &ports.entries {
                    let what = format!("the input `{}`", port.value);
                    let reference = self.source(value, &what, owner);
                    named.extend(reference.map(|reference| (port.clone(), reference)));
                }
                DraftInputs::Named(named)
            }
            _ => {
                self.wrong_type(
                    "`inputs` must be a mapping from ports to nodes, or a list of nodes",
                    &value,
                );
                DraftInputs::None
            }
        };
        owner.resolved = before;
        inputs
    }

    /// A reference or a chain; the nodes of a chain are made on the way.
    fn source(&mut self, value: &Value, what: &str, owner: &mut Owner<'_>) -> Option<DraftReference> {
        let before = owner.resolved;
        let value = self.resolve_whole(value, owner)?;
        let reference = if let ValueKind::String(text) = &value.kind {
            self.chain_input(text, value.span, owner)
        } else {
            self.wrong_type(&format!("{what} must be a node or a chain"), &value);
            None
        };
        owner.resolved = before;
        reference
    }

    /// A string that is one interpolation and nothing else is replaced as a whole, and what it stands for is not
    /// interpolated again; any other is left to the chain parser, which knows where in it a piece stands.
    fn resolve_whole(&mut self, value: &Value, owner: &mut Owner<'_>) -> Option<Value> {
        if owner.resolved || !is_interpolation(value) {
            return Some(value.clone());
        }
        let value = self.interpolator.value(value)?;
        owner.resolved = true;
        Some(value)
    }

    fn columns_key(&mut self, mapping: &Mapping, inputs: &mut DraftInputs, owner: &Owner<'_>) {
        let Some((key, _)) = mapping.entry("columns") else {
            return;
        };
        let columns: Vec<Selection> = self
            .texts(mapping, "columns", owner)
            .into_iter()
            .map(Selection::Column)
            .collect();
        match inputs {
            DraftInputs::One(reference) if reference.columns.is_none() => reference.columns = Some(columns),
            DraftInputs::One(reference) => {
                let diagnostic = Diagnostic::error(Code::Conflict, "the columns are selected twice")
                    .at(key.span)
                    .label("remove this, or the brackets")
                    .related(reference.span, "selected here");
                self.report(diagnostic);
            }
            // An `input` that could not be read has been complained about.
            DraftInputs::None if mapping.get("input").is_some() => {}
            _ => {
                let diagnostic = Diagnostic::error(Code::Conflict, "`columns` goes with a single `input` only")
                    .at(key.span)
                    .help("select columns in the reference instead: `node[a, b]`");
                self.report(diagnostic);
            }
        }
    }

    fn texts(&mut self, mapping: &Mapping, key: &str, owner: &Owner<'_>) -> Vec<Spanned<String>> {
        let value = mapping.get(key).and_then(|value| self.interpolate(value, owner));
        let Some(value) = value else {
            return Vec::new();
        };
        let Some(items) = value.as_sequence() else {
            self.wrong_type(&format!("`{key}` must be a list of texts"), &value);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.as_str() {
                Some(text) => texts.push(Spanned::new(text.to_owned(), item.span)),
                None => self.wrong_type(&format!("an entry of `{key}` must be a text"), item),
            }
        }
        texts
    }

    pub(crate) fn wrong_type(&mut self, expected: &str, found: &Value) {
        self.report(wrong_type(expected, found));
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.interpolator.diagnostics.push(diagnostic);
    }
}

fn is_interpolation(value: &Value) -> bool {
    let pieces = value.as_str().map(pieces).unwrap_or_default();
    matches!(pieces.as_slice(), [(_, Piece::Var(_) | Piece::Env { .. })])
}

/// The complaint about a value of the wrong kind.
pub(crate) fn wrong_type(expected: &str, found: &Value) -> Diagnostic {
    Diagnostic::error(Code::WrongType, format!("{expected}, not {}", found.kind_name())).at(found.span)
}

/// The complaint about a key that means nothing.
pub(crate) fn unknown_key(key: &Key, whose: &str, known: &[&str]) -> Diagnostic {
    let message = format!("`{}` is not a key of {whose}", key.value);
    let mut diagnostic = Diagnostic::error(Code::UnknownKey, message)
        .at(key.span)
        .label("unknown");
    diagnostic.help = Some(suggest::sentence(&key.value, known, "keys"));
    diagnostic
}
