//! A pipeline that was read and type-checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use towline_api::{Registry, TypeContext};

use crate::builtin::CHAIN_OPERATORS;
use crate::config::yaml::{Diagnostic, SourceMap, Style, render};
use crate::config::{LoadOptions, Loaded, Override, load_file, load_text};
use crate::engine::{EngineError, Run};
use crate::plan::Plan;
use crate::run::{RunOptions, Transformer};
use crate::store::{SharedStore, Store};
use crate::typing::{TypedGraph, TypedPipeline, propagate};

/// A pipeline that was read and type-checked, with everything that is wrong with it.
///
/// Its methods block: call them from a thread that drives no asynchronous runtime.
pub struct OpenPipeline {
    pub(crate) sources: SourceMap,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The pipeline with the types of its nodes, as far as they are known.
    pub(crate) typed: Option<TypedPipeline>,
    store: PathBuf,
}

impl OpenPipeline {
    /// Reads and checks a file; `offline`, sources must declare their schemas, and nothing but the file is read.
    pub(crate) fn of_file(file: &Path, overrides: &[Override], registry: &Registry, offline: bool) -> Self {
        Self::checked(registry, overrides, offline, |options| load_file(file, options))
    }

    pub(super) fn of_text(name: &str, text: &[u8], overrides: &[Override], registry: &Registry) -> Self {
        Self::checked(registry, overrides, false, |options| load_text(name, text, options))
    }

    fn checked(
        registry: &Registry,
        overrides: &[Override],
        offline: bool,
        load: impl FnOnce(&LoadOptions<'_>) -> Loaded,
    ) -> Self {
        let env = |name: &str| std::env::var(name).ok();
        let loaded = load(&LoadOptions {
            env: &env,
            overrides,
            operators: CHAIN_OPERATORS,
        });
        let mut diagnostics = loaded.diagnostics;
        let typed = loaded.pipeline.map(|pipeline| {
            let context = TypeContext {
                session: crate::run::session(),
                offline,
            };
            let mut typed = propagate(pipeline, &loaded.sources, registry, &context);
            diagnostics.append(&mut typed.diagnostics);
            typed
        });
        diagnostics.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.severity));
        OpenPipeline {
            sources: loaded.sources,
            diagnostics,
            typed,
            store: PathBuf::from(".towline"),
        }
    }

    /// The same pipeline with the store in another folder than `.towline`.
    #[must_use]
    pub fn store(mut self, folder: impl Into<PathBuf>) -> Self {
        self.store = folder.into();
        self
    }

    /// Everything that was found: errors and warnings, in the order of the file.
    pub fn validate(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The diagnostics as text, each with its place in the file.
    pub fn report(&self) -> String {
        render(&self.sources, &self.diagnostics, Style::default())
    }

    /// The graph, if there is no error.
    pub(crate) fn valid_graph(&self) -> Option<TypedGraph> {
        if self.diagnostics.iter().any(Diagnostic::is_error) {
            return None;
        }
        TypedGraph::new(self.typed.as_ref()?)
    }

    /// The graph of a pipeline without errors.
    pub fn graph(&self) -> Result<TypedGraph, EngineError> {
        self.valid_graph().ok_or_else(|| EngineError::Invalid(self.report()))
    }

    /// What a run with these options would do.
    pub fn plan(&self, options: RunOptions) -> Result<Plan, EngineError> {
        let graph = Arc::new(self.graph()?);
        let store = open_store(&self.store, &graph)?;
        Ok(runtime()?.block_on(crate::run::plan(graph, store, options))?)
    }

    /// Runs what has changed. A node that fails is no error of the run: [`Run::record`] has the status of each node.
    pub fn run(&self, options: RunOptions) -> Result<Run, EngineError> {
        let graph = Arc::new(self.graph()?);
        let store = open_store(&self.store, &graph)?;
        let runtime = runtime()?;
        let outcome = runtime.block_on(crate::run::run(Arc::clone(&graph), store, options));
        Ok(Run::new(graph, outcome, runtime))
    }

    /// Applies to new rows what the last run has learnt, up to a node.
    pub fn transform(&self, node: &str) -> Result<Transformer, EngineError> {
        Ok(Transformer::new(&self.graph()?, &Store::open(&self.store)?, node)?)
    }
}

/// The store in a folder, beside the shared one that the pipeline names.
fn open_store(folder: &Path, graph: &TypedGraph) -> Result<Store, EngineError> {
    let store = Store::open(folder)?;
    Ok(match graph.shared_store() {
        Some(address) => store.beside(Arc::new(SharedStore::at(address.clone()))),
        None => store,
    })
}

/// The threads that runs run on.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
