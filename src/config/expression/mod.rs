//! The language of expectations: tokens, syntax tree, parser.

mod parse;
mod scalar;
mod syntax;
mod token;

pub use parse::parse;
pub use scalar::Scalar;
pub(crate) use syntax::quoted;
pub use syntax::{Binary, ColumnProperty, Expr, ExprKind, Name, TextRange, Word};

use crate::config::yaml::Code;

/// An error in an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpressionError {
    /// The kind of problem.
    pub code: Code,
    /// The range in the text of the expression.
    pub range: TextRange,
    /// The message.
    pub message: String,
    /// The fix.
    pub help: Option<String>,
}

impl ExpressionError {
    pub(crate) fn new(code: Code, range: TextRange, message: impl Into<String>) -> Self {
        ExpressionError {
            code,
            range,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
