//! Commands and what they print.

pub(crate) mod choices;
pub(crate) mod diagnostics;
pub(crate) mod formats;
pub(crate) mod operator_docs;
pub(crate) mod own_operator;
pub(crate) mod profile;
pub(crate) mod recommend;
pub(crate) mod show;
pub(crate) mod starter;
