//! From a file to a pipeline whose every node has a type, with what is wrong told on standard error.

use std::path::Path;
use std::sync::Arc;

use towline_api::{Registry, TypeContext};

use crate::builtin::CHAIN_OPERATORS;
use crate::cli::{Exit, PipelineArguments, style};
use crate::config::Override;
use crate::config::yaml::{Diagnostic, render, summary};
use crate::engine::{OpenPipeline, runtime};
use crate::pipeline_tests;
use crate::pipeline_tests::{TestCase, TestSetup};
use crate::store::{SharedStore, Store};
use crate::typing::TypedGraph;

/// A pipeline after validation.
pub(super) type Checked = OpenPipeline;

/// Loads and types a pipeline; `offline`, sources must declare their schemas, and nothing but the file is read.
pub(super) fn check(file: &Path, overrides: &[Override], registry: &Registry, offline: bool) -> Checked {
    OpenPipeline::of_file(file, overrides, registry, offline)
}

/// The same with the tests of the pipeline: each is checked as far as that goes without a run.
pub(super) fn check_with_tests(
    file: &Path,
    overrides: &[Override],
    registry: &Registry,
    offline: bool,
) -> (Checked, Vec<TestCase>) {
    let mut checked = check(file, overrides, registry, offline);
    let broken = checked.diagnostics.iter().any(Diagnostic::is_error);
    let Some(typed) = checked.typed.as_ref().filter(|_| !broken) else {
        return (checked, Vec::new());
    };
    let (cases, mut diagnostics) = pipeline_tests::read(&typed.pipeline, &mut checked.sources);
    if cases.is_empty() && diagnostics.is_empty() {
        return (checked, cases);
    }
    let context = TypeContext {
        session: crate::run::session(),
        offline,
    };
    if let Some(setup) = TestSetup::of(typed, &checked.sources, registry, CHAIN_OPERATORS.select, &context) {
        for case in &cases {
            let problems = pipeline_tests::prepare(&setup, case, Path::new("")).err();
            diagnostics.extend(problems.unwrap_or_default());
        }
    }
    checked.diagnostics.extend(diagnostics);
    let order = |diagnostic: &Diagnostic| (diagnostic.span, diagnostic.severity);
    checked.diagnostics.sort_by_key(order);
    (checked, cases)
}

impl Checked {
    /// Tells what was found on standard error.
    pub(super) fn print_diagnostics(&self, file: &str) {
        if !self.diagnostics.is_empty() {
            eprint!(
                "{}",
                render(&self.sources, &self.diagnostics, style(&std::io::stderr()))
            );
            eprintln!("{} in {file}", summary(&self.diagnostics));
        }
    }
}

/// The graph of a command's arguments, or the exit after its errors were told.
pub(super) fn graph(arguments: &PipelineArguments, registry: &Registry) -> Result<TypedGraph, Exit> {
    let checked = check(&arguments.file, &arguments.overrides, registry, false);
    checked.print_diagnostics(&arguments.file.display().to_string());
    checked.valid_graph().ok_or(Exit::Invalid)
}

/// The store of a command's arguments, or the exit after its error was told.
pub(super) fn store(arguments: &PipelineArguments) -> Result<Store, Exit> {
    Store::open(arguments.folder()).map_err(|error| {
        eprintln!("error: {error}");
        Exit::Failed
    })
}

/// Everything that a command needs to run or plan.
pub(super) struct Ready {
    pub(super) graph: Arc<TypedGraph>,
    pub(super) store: Store,
    pub(super) runtime: tokio::runtime::Runtime,
}

/// What a command needs to run or plan, or the exit after what is wrong was told.
pub(super) fn ready(arguments: &PipelineArguments, registry: &Registry) -> Result<Ready, Exit> {
    let graph = Arc::new(graph(arguments, registry)?);
    let mut store = store(arguments)?;
    if let Some(address) = arguments.shared().or(graph.shared_store()) {
        store = store.beside(Arc::new(SharedStore::at(address.clone())));
    }
    let runtime = threads()?;
    Ok(Ready { graph, store, runtime })
}

/// The threads that runs run on, or the exit after the error was told.
pub(super) fn threads() -> Result<tokio::runtime::Runtime, Exit> {
    runtime().map_err(|error| {
        eprintln!("error: no threads to run on: {error}");
        Exit::Failed
    })
}
