//! Type checking of expectations.

use crate::checks::{Condition, Scope, check};
use crate::config::Expectation;
use crate::config::yaml::Diagnostic;

/// The condition of an expectation for a node, or all of its errors.
pub(crate) fn condition(expectation: &Expectation, scope: &Scope<'_>) -> Result<Condition, Vec<Diagnostic>> {
    check(&expectation.text, expectation.expression(), scope).map_err(|errors| {
        let placed = |error| expectation.diagnostic(error);
        errors.into_iter().map(placed).collect()
    })
}
