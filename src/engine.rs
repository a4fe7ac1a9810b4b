//! A program with operators of its own.

use towline_api::{Describe, Registry};
use towline_operators::builtin;

use crate::cli;
use crate::cli::Exit;

/// The whole command line with every operator that ships with Towline, and with those of one's own.
///
/// ```no_run
/// fn main() -> towline::cli::Exit {
///     towline::Engine::new().main()
/// }
/// ```
///
/// `examples/own_operator` adds an operator: validation, the JSON Schema, `ops`, the cache and the run know it like any other.
#[derive(Debug, Clone)]
pub struct Engine {
    registry: Registry,
}

impl Default for Engine {
    fn default() -> Self {
        Engine::new()
    }
}

impl Engine {
    /// The operators that ship with Towline.
    pub fn new() -> Self {
        Engine { registry: builtin() }
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

    /// Runs the command that the arguments of the process name.
    pub fn main(&self) -> Exit {
        cli::main(&self.registry)
    }
}
