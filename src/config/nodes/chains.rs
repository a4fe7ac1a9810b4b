//! The expansion of chains into nodes.

use std::sync::Arc;

use crate::config::chain::{Expr, ReferenceExpr, Selector, Step};
use crate::config::model::{InvalidParts, Selection};
use crate::config::names::{bad_name, is_name};
use crate::config::nodes::parser::{EntryContext, NodeParser};
use crate::config::nodes::unresolved::{Target, UnresolvedInputs, UnresolvedNode, UnresolvedReference};
use crate::config::settings::Settings;
use crate::config::yaml::{Code, Diagnostic, Mapping, Span, Spanned, Value, ValueKind};
use crate::config::{chain, defaults};

impl NodeParser<'_> {
    /// Generates the nodes of a chain that is the whole entry of a node; the last of them takes its name.
    pub(crate) fn chain_node(&mut self, text: &str, span: Span, entry_context: &mut EntryContext<'_>) {
        let (made, inputs) = self.track_errors(|parser| parser.chain(text, span, entry_context));
        let Some((is_reference, reference)) = made else {
            return;
        };
        if is_reference {
            let op = Spanned::new(self.operators.select.to_owned(), reference.span);
            let config = Value::empty_mapping(reference.span);
            let invalid = InvalidParts {
                inputs,
                ..InvalidParts::default()
            };
            self.make(op, config, UnresolvedInputs::One(reference), invalid, entry_context);
        }
        if let Some(last) = self.unresolved.last_mut() {
            last.name.clone_from(&entry_context.key.value);
            last.span = entry_context.key.span;
            last.generated = false;
        }
    }

    /// Generates the nodes of a chain, if it is more than a reference, and returns the reference to its result.
    pub(crate) fn chain_input(
        &mut self,
        text: &str,
        span: Span,
        entry_context: &mut EntryContext<'_>,
    ) -> Option<UnresolvedReference> {
        self.chain(text, span, entry_context).map(|(_, reference)| reference)
    }

    fn chain(
        &mut self,
        text: &str,
        span: Span,
        entry_context: &mut EntryContext<'_>,
    ) -> Option<(bool, UnresolvedReference)> {
        entry_context.chain = Arc::from(text);
        match chain::parse(self.interpolator.sources, text, span) {
            Ok(expr) => {
                let is_reference = matches!(expr, Expr::Reference(_));
                let reference = self.expr(&expr, entry_context)?;
                Some((is_reference, reference))
            }
            Err(diagnostic) => {
                self.interpolator.diagnostics.push(*diagnostic);
                None
            }
        }
    }

    /// Expands inner parts first, so that nodes are numbered in the order in which data flows.
    fn expr(&mut self, expr: &Expr, entry_context: &mut EntryContext<'_>) -> Option<UnresolvedReference> {
        match expr {
            Expr::Reference(reference) => self.reference(reference, entry_context),
            Expr::Join { terms, span } => {
                let (terms, inputs) = self.track_errors(|parser| {
                    let terms = terms.iter().map(|term| parser.expr(term, entry_context));
                    terms.flatten().collect()
                });
                let op = Spanned::new(self.operators.concat.to_owned(), *span);
                let config = Value::empty_mapping(*span);
                let invalid = InvalidParts {
                    inputs,
                    ..InvalidParts::default()
                };
                Some(self.make(op, config, UnresolvedInputs::List(terms), invalid, entry_context))
            }
            Expr::Steps { source, steps } => {
                let (mut reference, mut broken) = self.track_errors(|parser| parser.expr(source, entry_context));
                for step in steps {
                    let inputs = reference.map_or(UnresolvedInputs::None, UnresolvedInputs::One);
                    reference = Some(self.step(step, inputs, broken, entry_context));
                    broken = false;
                }
                reference
            }
        }
    }

    fn step(
        &mut self,
        step: &Step,
        inputs: UnresolvedInputs,
        broken: bool,
        entry_context: &mut EntryContext<'_>,
    ) -> UnresolvedReference {
        let (op, op_invalid) = self.track_errors(|parser| parser.word(&step.op, entry_context));
        let op = op.unwrap_or_else(|| step.op.clone());
        let config = Value {
            kind: ValueKind::Mapping(Mapping {
                entries: step.args.clone(),
            }),
            span: step.op.span,
        };
        let (config, config_invalid) = self.track_errors(|parser| parser.interpolate(&config, entry_context));
        let config = config.unwrap_or_else(|| Value::empty_mapping(step.op.span));
        let invalid = InvalidParts {
            op: op_invalid,
            config: config_invalid,
            inputs: broken,
        };
        self.make(op, config, inputs, invalid, entry_context)
    }

    fn make(
        &mut self,
        op: Spanned<String>,
        mut config: Value,
        inputs: UnresolvedInputs,
        invalid: InvalidParts,
        entry_context: &mut EntryContext<'_>,
    ) -> UnresolvedReference {
        entry_context.generated_count += 1;
        let span = op.span;
        defaults::apply(&self.defaults, &op.value, &mut config);
        self.unresolved.push(UnresolvedNode {
            name: format!(
                "{}.{}:{}",
                entry_context.key.value, entry_context.generated_count, op.value
            ),
            span,
            op,
            config,
            inputs,
            after: Vec::new(),
            settings: Settings::default(),
            invalid,
            generated: true,
            chain_text: Some(Arc::clone(&entry_context.chain)),
        });
        UnresolvedReference {
            target: Target::Generated(self.unresolved.len() - 1),
            columns: None,
            split: None,
            span,
        }
    }

    fn reference(
        &mut self,
        reference: &ReferenceExpr,
        entry_context: &EntryContext<'_>,
    ) -> Option<UnresolvedReference> {
        let name = self.name("node", &reference.name, entry_context);
        let columns = reference
            .columns
            .as_ref()
            .map(|columns| self.columns(columns, entry_context));
        let split = reference
            .split
            .as_ref()
            .map(|split| self.name("split", split, entry_context));
        Some(UnresolvedReference {
            target: Target::Named(name?),
            columns,
            split: match split {
                Some(split) => Some(split?),
                None => None,
            },
            span: reference.span,
        })
    }

    fn columns(&mut self, selectors: &[Selector], entry_context: &EntryContext<'_>) -> Vec<Selection> {
        let mut columns = Vec::new();
        for selector in selectors {
            match selector {
                Selector::Tag(tag) => columns.extend(self.word(tag, entry_context).map(Selection::Tag)),
                Selector::Column(column) => {
                    let span = column.span;
                    let value = Value {
                        kind: ValueKind::String(column.value.clone()),
                        span,
                    };
                    // The value of one variable may be several columns.
                    let names = match self.interpolate(&value, entry_context).map(|value| value.kind) {
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

    fn name(
        &mut self,
        what: &str,
        word: &Spanned<String>,
        entry_context: &EntryContext<'_>,
    ) -> Option<Spanned<String>> {
        let name = self.word(word, entry_context)?;
        if is_name(&name.value) {
            return Some(name);
        }
        self.interpolator.diagnostics.push(bad_name(what, &name));
        None
    }

    /// A word of a chain with its interpolations done.
    fn word(&mut self, word: &Spanned<String>, entry_context: &EntryContext<'_>) -> Option<Spanned<String>> {
        let value = Value {
            kind: ValueKind::String(word.value.clone()),
            span: word.span,
        };
        let value = self.interpolate(&value, entry_context)?;
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
