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
//! A text is parsed into a tree (`config::expression`), the tree is checked against the static type of the node
//! ([`check()`]), and the condition is evaluated ([`Condition::evaluate`]) once its facts are known ([`measurement()`]).

mod check;
mod evaluate;
mod fact;
mod measure;
mod result_type;

pub use check::{Condition, Operand, Scope, check};
pub use evaluate::{Outcome, Part};
pub use fact::{Fact, Measure};
pub use measure::{Measurement, measurement};
