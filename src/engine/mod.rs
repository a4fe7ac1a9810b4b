//! Towline as a library: open a pipeline, validate, plan and run it, and read what it produced.

mod open;
mod run;

use std::path::Path;

use towline_api::{Describe, Registry};
use towline_operators::builtin;

use crate::config::{BadOverride, Override};
use crate::run::{Failure, TransformError};
use crate::store::StoreError;

pub use open::OpenPipeline;
pub(crate) use open::runtime;
pub use run::Run;

/// The operators, and what can be done with pipelines of them.
///
/// A pipeline that is run from a program:
///
/// ```no_run
/// use towline::{Engine, RunOptions};
///
/// let pipeline = Engine::new().open("pipeline.yaml", &["vars.rows=1000"])?;
/// let run = pipeline.run(RunOptions::default())?;
/// for (split, batches) in run.dataset("recommendations")? {
///     println!("{split}: {} batches", batches.len());
/// }
/// # Ok::<(), towline::EngineError>(())
/// ```
///
/// The whole command line, with custom operators:
///
/// ```no_run
/// fn main() -> towline::cli::Exit {
///     towline::Engine::new().main()
/// }
/// ```
///
/// `examples/embed` runs a pipeline, `examples/own_operator` adds an operator: validation, the JSON Schema, `ops`, the cache
/// and the run know it like any other.
#[derive(Debug, Clone)]
pub struct Engine {
    registry: Registry,
}

/// Why a pipeline could not be opened, planned or run, or its output not be read.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A variable is not written as `path=value`.
    #[error(transparent)]
    Variable(#[from] BadOverride),
    /// The pipeline has errors; the text shows each at its place.
    #[error("the pipeline is not valid:\n{0}")]
    Invalid(String),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are no threads to run on.
    #[error("no threads to run on: {0}")]
    Threads(#[from] std::io::Error),
    /// A node could not be planned, or its output not be read.
    #[error(transparent)]
    Node(#[from] Failure),
    /// New rows cannot be transformed.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// There is no such node.
    #[error("there is no node `{name}`: {help}")]
    UnknownNode {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        help: String,
    },
    /// A node has no rows to read.
    #[error("`{name}` has no rows: {why}")]
    NoRows {
        /// The node.
        name: String,
        /// Why.
        why: String,
    },
}

impl Default for Engine {
    fn default() -> Self {
        Engine::new()
    }
}

impl From<Registry> for Engine {
    fn from(registry: Registry) -> Self {
        Engine { registry }
    }
}

impl Engine {
    /// The operators that ship with Towline.
    pub fn new() -> Self {
        Engine::from(builtin())
    }

    /// Adds an operator; one of the same name is replaced.
    #[must_use]
    pub fn with<T: Describe>(mut self) -> Self {
        self.registry = self.registry.with::<T>();
        self
    }

    /// Its operators.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Opens the pipeline in a file. Each of `variables` replaces a value of it: `vars.rows=1000`. A pipeline with errors is
    /// opened as well: [`OpenPipeline::validate`] returns them.
    pub fn open(&self, file: impl AsRef<Path>, variables: &[&str]) -> Result<OpenPipeline, EngineError> {
        let variables = parsed(variables)?;
        Ok(OpenPipeline::of_file(file.as_ref(), &variables, &self.registry, false))
    }

    /// Opens a pipeline in a text; messages call it by this name.
    pub fn open_text(&self, name: &str, text: &str, variables: &[&str]) -> Result<OpenPipeline, EngineError> {
        let variables = parsed(variables)?;
        Ok(OpenPipeline::of_text(name, text.as_bytes(), &variables, &self.registry))
    }
}

fn parsed(variables: &[&str]) -> Result<Vec<Override>, BadOverride> {
    variables.iter().map(|text| text.parse()).collect()
}
