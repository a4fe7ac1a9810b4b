//! Towline: one YAML file in, a finished batch of recommendations out.
//!
//! [`Engine`] is the entry: it opens pipelines, and what it opens is validated, planned, run and read. `arrow` and
//! `datafusion` are re-exported in the versions that operators and datasets use.

mod builtin;
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

pub use arrow;
pub use builtin::CHAIN_OPERATORS;
pub use datafusion;
pub use engine::{Engine, EngineError, OpenPipeline, Run};
pub use plan::{Decision, Plan};
pub use run::RunOptions;
