//! Diagnostics: what `validate` finds.

pub(crate) mod bad_input;
pub(crate) mod deprecated_names;
pub(crate) mod expectation_language;
pub(crate) mod robustness;
pub(crate) mod sources;
pub(crate) mod validation;
