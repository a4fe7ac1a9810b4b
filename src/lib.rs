//! Towline: one YAML file in, a finished batch of recommendations out.

pub mod checks;
pub mod cli;
pub mod config;
mod engine;
pub mod pipeline_tests;
pub mod plan;
pub mod report;
pub mod run;
pub mod store;
pub mod typing;

pub use engine::Engine;
