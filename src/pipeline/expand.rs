//! Chains to nodes: the last step takes the name, inner steps are numbered.

use crate::document::{Mapping, Span, Value, ValueKind};

use super::chain::{Expr, Step, Term};
use super::nodes::{RawInputs, RawNode};
use super::{CacheMode, LoadOptions, Spanned};

pub(super) struct Expansion<'a> {
    name: &'a str,
    span: Span,
    options: &'a LoadOptions<'a>,
    count: usize,
    pub(super) nodes: Vec<RawNode>,
}

impl<'a> Expansion<'a> {
    pub(super) fn new(name: &'a str, span: Span, options: &'a LoadOptions<'a>) -> Self {
        Expansion {
            name,
            span,
            options,
            count: 0,
            nodes: Vec::new(),
        }
    }

    /// The nodes of an expression, the last of which takes the name.
    pub(super) fn define(&mut self, expression: Expr) {
        match expression {
            Expr::Term(term) => {
                let op = Spanned {
                    value: self.options.select.to_owned(),
                    span: term.span,
                };
                let config = empty(term.span);
                self.push(Some(self.name.to_owned()), op, config, RawInputs::One(term));
            }
            Expr::Sum(..) | Expr::Steps { .. } => {
                self.expand(expression, true);
            }
        }
    }

    /// A reference to the value of an expression; anything but a plain reference becomes inner nodes.
    pub(super) fn term(&mut self, expression: Expr) -> Term {
        match expression {
            Expr::Term(term) => term,
            other => self.expand(other, false),
        }
    }

    fn expand(&mut self, expression: Expr, last: bool) -> Term {
        match expression {
            Expr::Term(term) => term,
            Expr::Sum(terms, span) => {
                let inputs = terms.into_iter().map(|term| self.expand(term, false)).collect();
                let op = Spanned {
                    value: self.options.concat.to_owned(),
                    span,
                };
                let name = last.then(|| self.name.to_owned());
                self.push(name, op, empty(span), RawInputs::List(inputs))
            }
            Expr::Steps { input, steps } => {
                let mut input = self.expand(*input, false);
                let count = steps.len();
                for (index, Step { op, config }) in steps.into_iter().enumerate() {
                    let name = (last && index + 1 == count).then(|| self.name.to_owned());
                    input = self.push(name, op, config, RawInputs::One(input));
                }
                input
            }
        }
    }

    fn push(&mut self, name: Option<String>, op: Spanned<String>, config: Value, inputs: RawInputs) -> Term {
        let generated = name.is_none();
        let name = name.unwrap_or_else(|| {
            self.count += 1;
            format!("{}.{}:{}", self.name, self.count, op.value)
        });
        let span = if generated { op.span } else { self.span };
        let node = Spanned {
            value: name.clone(),
            span: op.span,
        };
        let term = Term {
            node,
            columns: None,
            split: None,
            span: op.span,
        };
        let (after, cache) = (Vec::new(), CacheMode::Auto);
        self.nodes.push(RawNode {
            name,
            span,
            op,
            config,
            inputs,
            after,
            cache,
            generated,
        });
        term
    }
}

fn empty(span: Span) -> Value {
    Value {
        kind: ValueKind::Mapping(Mapping::default()),
        span,
    }
}
