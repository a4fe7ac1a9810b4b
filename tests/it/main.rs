//! The behaviour of the whole, in one binary.

mod diagnostics;
mod documents;
mod pipelines;
mod workspace;
