//! The language of expectations: tokens, syntax tree, parser.

mod parse;
mod scalar;
mod syntax;
mod token;

pub use parse::parse;
pub use scalar::Scalar;
pub(crate) use syntax::written;
pub use syntax::{Binary, Expr, ExprKind, Name, Place, Quality, Word};

use crate::config::yaml::Code;

/// Something wrong with an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Complaint {
    /// The kind of problem.
    pub code: Code,
    /// Where in the text of the expression.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Complaint {
    pub(crate) fn new(code: Code, place: Place, message: impl Into<String>) -> Self {
        Complaint {
            code,
            place,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
