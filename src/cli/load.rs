//! From a file to a pipeline whose every node has a type, with what is wrong told on standard error.

use std::path::Path;
use std::sync::Arc;

use towline_api::{Registry, TypeContext};
use towline_operators::{BEST, CONCAT, SELECT};

use crate::cli::{Exit, PipelineArguments, style};
use crate::config::yaml::{Diagnostic, SourceMap, render, summary};
use crate::config::{ChainOperators, LoadOptions, Override, Pipeline, load_file};
use crate::pipeline_tests;
use crate::pipeline_tests::{TestCase, TestSetup};
use crate::store::{Address, SharedStore, Store};
use crate::typing::{TypedNode, TypedPipeline, propagate};

/// What validation found.
pub(super) struct Checked {
    pub(super) sources: SourceMap,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The pipeline with the types of its nodes, as far as they are known.
    pub(super) typed: Option<TypedPipeline>,
}

/// Loads and types a pipeline; `offline`, sources must declare their schemas, and nothing but the file is read.
pub(super) fn check(file: &Path, overrides: &[Override], registry: &Registry, offline: bool) -> Checked {
    let env = |name: &str| std::env::var(name).ok();
    let options = LoadOptions {
        env: &env,
        overrides,
        operators: ChainOperators {
            concat: CONCAT,
            select: SELECT,
            best: BEST,
        },
    };
    let loaded = load_file(file, &options);
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
    Checked {
        sources: loaded.sources,
        diagnostics,
        typed,
    }
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
    if let Some(setup) = TestSetup::of(typed, &checked.sources, registry, SELECT, &context) {
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
    /// The pipeline and its typed nodes, if there was no error.
    fn into_valid(self) -> Option<(Pipeline, Vec<TypedNode>)> {
        if self.diagnostics.iter().any(Diagnostic::is_error) {
            return None;
        }
        let typed = self.typed?;
        let nodes = typed.nodes.into_iter().collect::<Option<Vec<_>>>()?;
        Some((typed.pipeline, nodes))
    }

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

/// The pipeline of a command's arguments, or the exit after its errors were told.
pub(super) fn pipeline(arguments: &PipelineArguments, registry: &Registry) -> Result<(Pipeline, Vec<TypedNode>), Exit> {
    let checked = check(&arguments.file, &arguments.overrides, registry, false);
    checked.print_diagnostics(&arguments.file.display().to_string());
    checked.into_valid().ok_or(Exit::Invalid)
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
    pub(super) pipeline: Pipeline,
    pub(super) nodes: Vec<TypedNode>,
    pub(super) store: Store,
    pub(super) runtime: tokio::runtime::Runtime,
}

/// What a command needs to run or plan, or the exit after what is wrong was told.
pub(super) fn ready(arguments: &PipelineArguments, registry: &Registry) -> Result<Ready, Exit> {
    let (pipeline, nodes) = pipeline(arguments, registry)?;
    let mut store = store(arguments)?;
    if let Some(address) = shared_address(arguments, &pipeline)? {
        store = store.beside(Arc::new(SharedStore::at(address)));
    }
    let runtime = threads()?;
    Ok(Ready {
        pipeline,
        nodes,
        store,
        runtime,
    })
}

/// The address of the shared store: that of the command line, else that of the pipeline.
fn shared_address(arguments: &PipelineArguments, pipeline: &Pipeline) -> Result<Option<Address>, Exit> {
    if let Some(address) = arguments.shared() {
        return Ok(Some(address.clone()));
    }
    let parsed = pipeline.store.as_ref().map(|text| text.value.parse()).transpose();
    parsed.map_err(|error: String| {
        eprintln!("error: {error}");
        Exit::Invalid
    })
}

/// The threads that runs run on, or the exit after the error was told.
pub(super) fn threads() -> Result<tokio::runtime::Runtime, Exit> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().map_err(|error| {
        eprintln!("error: no threads to run on: {error}");
        Exit::Failed
    })
}
