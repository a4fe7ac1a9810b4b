//! Expectations: conditions on what a node produced, such as `rows > 0` or `user_id is unique`.
//!
//! ```text
//! or         := and ('or' and)*
//! and        := not ('and' not)*
//! not        := 'not' not | comparison
//! comparison := sum [('<' | '<=' | '>' | '>=' | '==' | '=' | '!=') sum]
//!             | name 'is' ('unique' | 'not' 'null')
//! sum        := product (('+' | '-') product)*
//! product    := sign (('*' | '/') sign)*
//! sign       := '-' sign | number | 'text' | name | function '(' name ')' | '(' or ')'
//! name       := word ('.' word)*          a word with other characters stands in double quotes
//! ```
//!
//! Text becomes a tree ([`parse()`]), the tree a condition on facts ([`check()`], against the static type of the node),
//! and the condition an outcome ([`Condition::evaluate`]) once the facts are known ([`measurement()`]).

mod check;
mod evaluate;
mod fact;
mod measure;
mod parse;
mod scalar;
mod syntax;
mod token;
mod types;

pub use check::{Condition, Operand, Scope, check};
pub use evaluate::{Outcome, Part};
pub use fact::{Fact, Measure};
pub use measure::{Measurement, measurement};
pub use parse::parse;
pub use scalar::Scalar;
pub use syntax::{Binary, Expr, ExprKind, Name, Place, Quality, Word};

use crate::document::Code;

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
    fn new(code: Code, place: Place, message: impl Into<String>) -> Self {
        Complaint {
            code,
            place,
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
