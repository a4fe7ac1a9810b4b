//! Towline: one YAML file in, a finished batch of recommendations out.

pub mod cli;
pub mod document;
mod engine;
pub mod expectation;
pub mod findings;
pub mod pipeline;
pub mod plan;
pub mod run;
pub mod store;
pub mod testing;

pub use engine::Engine;
