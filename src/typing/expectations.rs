//! Expectations against the type of the output that they are about.

use crate::checks::{Condition, Scope, check};
use crate::config::Expectation;
use crate::config::yaml::Diagnostic;

/// The condition that an expectation means for a node; or everything that is wrong with it.
pub(crate) fn condition(expectation: &Expectation, scope: &Scope<'_>) -> Result<Condition, Vec<Diagnostic>> {
    check(&expectation.text, expectation.expression(), scope).map_err(|errors| {
        let placed = |error| expectation.diagnostic(error);
        errors.into_iter().map(placed).collect()
    })
}
