//! The chain notation: `clicks[user_id] >> Categorify(min_count=2) >> TagAsUserID`, `a + b`.

mod cursor;
mod parser;
#[cfg(test)]
mod tests;

use crate::config::yaml::{Diagnostic, Key, SourceMap, Span, Spanned, Value};

/// A chain as written; words may still hold `${...}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    /// A node, or a part of it.
    Reference(ReferenceExpr),
    /// `source >> Step >> Step`.
    Steps {
        /// The input of the first step.
        source: Box<Expr>,
        /// At least one step.
        steps: Vec<Step>,
    },
    /// `a + b`.
    Join {
        /// At least two terms, none of them a join.
        terms: Vec<Expr>,
        /// From the first term to the last.
        span: Span,
    },
}

/// `name[columns].split`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReferenceExpr {
    pub(crate) name: Spanned<String>,
    pub(crate) columns: Option<Vec<Selector>>,
    pub(crate) split: Option<Spanned<String>>,
    pub(crate) span: Span,
}

/// One entry between the brackets of a reference.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Selector {
    Column(Spanned<String>),
    Tag(Spanned<String>),
}

/// `Operator(key=value, ...)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) op: Spanned<String>,
    pub(crate) args: Vec<(Key, Value)>,
}

/// Reads a chain from the string that the scalar at `scalar` stands for.
pub(crate) fn parse(sources: &SourceMap, text: &str, scalar: Span) -> Result<Expr, Box<Diagnostic>> {
    parser::Parser::new(text, sources.span_map(scalar, text)).chain()
}
