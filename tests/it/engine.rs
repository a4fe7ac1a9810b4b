//! A pipeline run through the library, with operators of the test's own.

use std::path::Path;

use towline::config::yaml::Diagnostic;
use towline::config::{ChainOperators, LoadOptions, load_text};
use towline::run::{Choices, NodeRecord, Progress, ProgressMode, RunOptions, RunRecord};
use towline::store::Store;
use towline_api::{Cancel, Registry, TypeContext};

/// Options for a run that tells nothing.
pub(crate) fn options() -> RunOptions {
    RunOptions {
        jobs: 2,
        threads: 1,
        cancel: Cancel::default(),
        progress: Progress::new(ProgressMode::Quiet),
        stop_at_unmet: true,
        choices: Choices::default(),
        resume: false,
        verify_determinism: false,
    }
}

/// Runs a pipeline of these nodes on the store in `folder`.
pub(crate) fn run(registry: &Registry, nodes: &str, folder: &Path, options: RunOptions) -> RunRecord {
    let env = |_: &str| None;
    let load = LoadOptions {
        operators: ChainOperators {
            concat: towline_operators::CONCAT,
            select: towline_operators::SELECT,
            best: towline_operators::BEST,
        },
        overrides: &[],
        env: &env,
    };
    let text = format!("version: 1\nname: test\nnodes:\n{nodes}");
    let loaded = load_text("p.yaml", text.as_bytes(), &load);
    assert!(
        !loaded.diagnostics.iter().any(Diagnostic::is_error),
        "{:?}",
        loaded.diagnostics
    );
    let context = TypeContext {
        session: datafusion::prelude::SessionContext::new(),
        offline: false,
    };
    let typed = towline::typing::propagate(loaded.pipeline.expect("valid"), &loaded.sources, registry, &context);
    assert!(
        !typed.diagnostics.iter().any(Diagnostic::is_error),
        "{:?}",
        typed.diagnostics
    );
    let nodes = typed.nodes.into_iter().collect::<Option<Vec<_>>>().expect("typed");
    let store = Store::open(folder).expect("a store");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let record = runtime.block_on(towline::run::run(typed.pipeline, nodes, store, options));
    runtime.shutdown_background();
    record
}

/// The record of a node.
pub(crate) fn node<'a>(record: &'a RunRecord, name: &str) -> &'a NodeRecord {
    let found = record.nodes.iter().find(|node| node.name == name);
    found.unwrap_or_else(|| panic!("there is no node {name}"))
}
