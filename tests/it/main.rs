//! The behaviour of the whole, in one binary.

mod broken_operator;
mod diagnostics;
mod documents;
mod pipelines;
mod workspace;
