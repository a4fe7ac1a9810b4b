//! Chains, expanded into nodes.

use std::sync::Arc;

use crate::config::chain::{Expr, ReferenceExpr, Selector, Step};
use crate::config::defaults::Defaults;
use crate::config::interpolation::interpolate::Interpolator;
use crate::config::load::ChainOperators;
use crate::config::model::{Holes, Selection};
use crate::config::names::{bad_name, is_name};
use crate::config::settings::Settings;
use crate::config::yaml::{Code, Diagnostic, Key, Mapping, Span, Spanned, Value, ValueKind};
use crate::config::{chain, defaults};

/// A node whose references are still names.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) op: Spanned<String>,
    pub(crate) config: Value,
    pub(crate) inputs: DraftInputs,
    pub(crate) after: Vec<Spanned<String>>,
    pub(crate) settings: Settings,
    pub(crate) holes: Holes,
    pub(crate) generated: bool,
    pub(crate) chain_text: Option<Arc<str>>,
}

/// The inputs of a draft, in the forms of [`Connections`](crate::config::Connections).
#[derive(Debug, Clone)]
pub(crate) enum DraftInputs {
    None,
    One(DraftReference),
    List(Vec<DraftReference>),
    Named(Vec<(Key, DraftReference)>),
}

impl DraftInputs {
    /// The references, in order.
    pub(crate) fn references(&self) -> Vec<&DraftReference> {
        match self {
            DraftInputs::None => Vec::new(),
            DraftInputs::One(reference) => vec![reference],
            DraftInputs::List(list) => list.iter().collect(),
            DraftInputs::Named(named) => named.iter().map(|(_, reference)| reference).collect(),
        }
    }

    /// The references, in order, to be changed.
    pub(crate) fn references_mut(&mut self) -> Vec<&mut DraftReference> {
        match self {
            DraftInputs::None => Vec::new(),
            DraftInputs::One(reference) => vec![reference],
            DraftInputs::List(list) => list.iter_mut().collect(),
            DraftInputs::Named(named) => named.iter_mut().map(|(_, reference)| reference).collect(),
        }
    }
}

/// A reference to a node that may not exist.
#[derive(Debug, Clone)]
pub(crate) struct DraftReference {
    pub(crate) target: Target,
    pub(crate) columns: Option<Vec<Selection>>,
    pub(crate) split: Option<Spanned<String>>,
    pub(crate) span: Span,
}

/// What a reference leads to.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// The node of this name, if there is one.
    Named(Spanned<String>),
    /// The draft at this position, made by the chain itself.
    Made(usize),
}

/// What drafts are made with.
pub(crate) struct Drafter<'a> {
    pub(crate) interpolator: Interpolator<'a>,
    pub(crate) operators: ChainOperators<'a>,
    pub(crate) defaults: Defaults,
    pub(crate) drafts: Vec<Draft>,
}

/// The node in whose entry a chain stands.
pub(crate) struct Owner<'k> {
    pub(crate) key: &'k Key,
    /// How many nodes its chains have made so far.
    pub(crate) made: usize,
    /// Whether its text comes out of a variable, so that everything in it is resolved already.
    pub(crate) resolved: bool,
    /// The chain that is being expanded.
    pub(crate) chain: Arc<str>,
}

impl Drafter<'_> {
    /// What `read` reads, and whether anything of it could not be read.
    pub(crate) fn watch<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, bool) {
        let before = self.interpolator.trouble();
        let result = read(self);
        (result, self.interpolator.trouble() > before)
    }

    /// The value with every interpolation done, unless that happened before.
    pub(crate) fn interpolate(&mut self, value: &Value, owner: &Owner<'_>) -> Option<Value> {
        if owner.resolved {
            Some(value.clone())
        } else {
            self.interpolator.value(value)
        }
    }

    /// Makes the nodes of a chain that is the whole entry of a node; the last of them takes its name.
    pub(crate) fn chain_node(&mut self, text: &str, span: Span, owner: &mut Owner<'_>) {
        let (made, inputs) = self.watch(|drafter| drafter.chain(text, span, owner));
        let Some((is_reference, reference)) = made else {
            return;
        };
        if is_reference {
            let op = Spanned::new(self.operators.select.to_owned(), reference.span);
            let config = Value::empty_mapping(reference.span);
            let holes = Holes {
                inputs,
                ..Holes::default()
            };
            self.make(op, config, DraftInputs::One(reference), holes, owner);
        }
        if let Some(last) = self.drafts.last_mut() {
            last.name.clone_from(&owner.key.value);
            last.span = owner.key.span;
            last.generated = false;
        }
    }

    /// Makes the nodes of a chain, if it is more than a reference, and returns the reference to its result.
    pub(crate) fn chain_input(&mut self, text: &str, span: Span, owner: &mut Owner<'_>) -> Option<DraftReference> {
        self.chain(text, span, owner).map(|(_, reference)| reference)
    }

    fn chain(&mut self, text: &str, span: Span, owner: &mut Owner<'_>) -> Option<(bool, DraftReference)> {
        owner.chain = Arc::from(text);
        match chain::parse(self.interpolator.sources, text, span) {
            Ok(expr) => {
                let is_reference = matches!(expr, Expr::Reference(_));
                let reference = self.expr(&expr, owner)?;
                Some((is_reference, reference))
            }
            Err(diagnostic) => {
                self.interpolator.diagnostics.push(*diagnostic);
                None
            }
        }
    }

    /// Expands inner parts first, so that nodes are numbered in the order in which data flows.
    fn expr(&mut self, expr: &Expr, owner: &mut Owner<'_>) -> Option<DraftReference> {
        match expr {
            Expr::Reference(reference) => self.reference(reference, owner),
            Expr::Join { terms, span } => {
                let (terms, inputs) = self.watch(|drafter| {
                    let terms = terms.iter().map(|term| drafter.expr(term, owner));
                    terms.flatten().collect()
                });
                let op = Spanned::new(self.operators.concat.to_owned(), *span);
                let config = Value::empty_mapping(*span);
                let holes = Holes {
                    inputs,
                    ..Holes::default()
                };
                Some(self.make(op, config, DraftInputs::List(terms), holes, owner))
            }
            Expr::Steps { source, steps } => {
                let (mut reference, mut broken) = self.watch(|drafter| drafter.expr(source, owner));
                for step in steps {
                    let inputs = reference.map_or(DraftInputs::None, DraftInputs::One);
                    reference = Some(self.step(step, inputs, broken, owner));
                    broken = false;
                }
                reference
            }
        }
    }

    fn step(&mut self, step: &Step, inputs: DraftInputs, broken: bool, owner: &mut Owner<'_>) -> DraftReference {
        let (op, op_hole) = self.watch(|drafter| drafter.word(&step.op, owner));
        let op = op.unwrap_or_else(|| step.op.clone());
        let config = Value {
            kind: ValueKind::Mapping(Mapping {
                entries: step.args.clone(),
            }),
            span: step.op.span,
        };
        let (config, config_hole) = self.watch(|drafter| drafter.interpolate(&config, owner));
        let config = config.unwrap_or_else(|| Value::empty_mapping(step.op.span));
        let holes = Holes {
            op: op_hole,
            config: config_hole,
            inputs: broken,
        };
        self.make(op, config, inputs, holes, owner)
    }

    fn make(
        &mut self,
        op: Spanned<String>,
        mut config: Value,
        inputs: DraftInputs,
        holes: Holes,
        owner: &mut Owner<'_>,
    ) -> DraftReference {
        owner.made += 1;
        let span = op.span;
        defaults::apply(&self.defaults, &op.value, &mut config);
        self.drafts.push(Draft {
            name: format!("{}.{}:{}", owner.key.value, owner.made, op.value),
            span,
            op,
            config,
            inputs,
            after: Vec::new(),
            settings: Settings::default(),
            holes,
            generated: true,
            chain_text: Some(Arc::clone(&owner.chain)),
        });
        DraftReference {
            target: Target::Made(self.drafts.len() - 1),
            columns: None,
            split: None,
            span,
        }
    }

    fn reference(&mut self, reference: &ReferenceExpr, owner: &Owner<'_>) -> Option<DraftReference> {
        let name = self.name("node", &reference.name, owner);
        let columns = reference.columns.as_ref().map(|columns| self.columns(columns, owner));
        let split = reference.split.as_ref().map(|split| self.name("split", split, owner));
        Some(DraftReference {
            target: Target::Named(name?),
            columns,
            split: match split {
                Some(split) => Some(split?),
                None => None,
            },
            span: reference.span,
        })
    }

    fn columns(&mut self, selectors: &[Selector], owner: &Owner<'_>) -> Vec<Selection> {
        let mut columns = Vec::new();
        for selector in selectors {
            match selector {
                Selector::Tag(tag) => columns.extend(self.word(tag, owner).map(Selection::Tag)),
                Selector::Column(column) => {
                    let span = column.span;
                    let value = Value {
                        kind: ValueKind::String(column.value.clone()),
                        span,
                    };
                    // One variable may stand for several columns.
                    let names = match self.interpolate(&value, owner).map(|value| value.kind) {
                        Some(ValueKind::Sequence(items)) => items,
                        Some(kind) => vec![Value { kind, span }],
                        None => Vec::new(),
                    };
                    for name in names {
                        columns.extend(self.text(&name, span).map(Selection::Column));
                    }
                }
            }
        }
        columns
    }

    fn name(&mut self, what: &str, word: &Spanned<String>, owner: &Owner<'_>) -> Option<Spanned<String>> {
        let name = self.word(word, owner)?;
        if is_name(&name.value) {
            return Some(name);
        }
        self.interpolator.diagnostics.push(bad_name(what, &name));
        None
    }

    /// A word of a chain with its interpolations done.
    fn word(&mut self, word: &Spanned<String>, owner: &Owner<'_>) -> Option<Spanned<String>> {
        let value = Value {
            kind: ValueKind::String(word.value.clone()),
            span: word.span,
        };
        let value = self.interpolate(&value, owner)?;
        self.text(&value, word.span)
    }

    fn text(&mut self, value: &Value, span: Span) -> Option<Spanned<String>> {
        let text = value.as_str().map(|text| Spanned::new(text.to_owned(), span));
        if text.is_none() {
            let message = format!("expected text here, found {}", value.kind_name());
            let diagnostic = Diagnostic::error(Code::WrongType, message).at(span);
            self.interpolator.diagnostics.push(diagnostic);
        }
        text
    }
}
