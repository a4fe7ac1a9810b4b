//! The behaviour of the whole, in one binary.

mod diagnostics;
mod pipelines;
mod workspace;
