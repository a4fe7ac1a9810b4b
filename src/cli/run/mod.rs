//! `towline run FILE`

mod choices;
mod next;
pub(in crate::cli) mod plan;
mod summary;

use std::io::IsTerminal;

use clap::ValueEnum;
use tokio_util::sync::CancellationToken;
use towline_api::Registry;

use crate::cli::load::Ready;
use crate::cli::{Exit, PipelineArguments, cache, load};
use crate::plan::Selection;
use crate::run::{NodeRecord, NodeStatus, ProgressMode, RunOptions, RunRecord};
use crate::store::RetentionPolicy;
use crate::typing::TypedGraph;

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    #[command(flatten)]
    choices: choices::Choosing,
    /// How many nodes may run at once.
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    /// Show nothing but errors and the summary.
    #[arg(long, short)]
    quiet: bool,
    /// How the run is told on standard error.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Take up unfinished work (training) that an earlier run left behind, instead of starting it anew.
    #[arg(long)]
    resume: bool,
    /// Say what would run, and why, and run nothing: the same as `towline plan`.
    #[arg(long)]
    dry_run: bool,
    /// Run every node twice, whatever is in the store, and fail where the results differ.
    #[arg(long)]
    verify_determinism: bool,
}

/// How a run is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Bars on a terminal, lines elsewhere.
    Text,
    /// An event in JSON on each line.
    Json,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let ready = match load::ready(&arguments.pipeline, registry) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let selection = match plan::selection(&arguments.choices, &ready) {
        Ok(selection) => selection,
        Err(exit) => return exit,
    };
    if arguments.dry_run {
        return plan::show(&ready, selection, false);
    }
    let mode = arguments.mode();
    let options = arguments.options(selection, &ready.graph);
    crate::run::show(&options.events, mode);
    stop_on_signals(&options.cancel);
    let Ready { graph, store, runtime } = ready;
    let record = runtime.block_on(crate::run::run(graph, store.clone(), options)).record;
    print!("{}", summary::of(&record));
    // Operators that were interrupted and did not stop are not waited for.
    runtime.shutdown_background();
    if !record.interrupted {
        cache::enforce_retention(&store, &RetentionPolicy::default(), record.count(NodeStatus::Ran) > 0);
    }
    if matches!(mode, ProgressMode::Bars | ProgressMode::Lines) {
        eprintln!("{}", next::after(&record, &arguments.pipeline.file));
    }
    exit(&record)
}

impl Arguments {
    fn mode(&self) -> ProgressMode {
        match (self.log_format, self.quiet) {
            (LogFormat::Json, _) => ProgressMode::Json,
            (LogFormat::Text, true) => ProgressMode::Quiet,
            (LogFormat::Text, false) if std::io::stderr().is_terminal() => ProgressMode::Bars,
            (LogFormat::Text, false) => ProgressMode::Lines,
        }
    }

    fn options(&self, mut selection: Selection, graph: &TypedGraph) -> RunOptions {
        if self.verify_determinism {
            let all = graph.ids();
            selection.fresh = all.map(|id| (id, "--verify-determinism".to_owned())).collect();
        }
        let defaults = RunOptions::default();
        RunOptions {
            jobs: self.jobs.unwrap_or(defaults.jobs),
            selection,
            resume: self.resume,
            verify_determinism: self.verify_determinism,
            ..defaults
        }
    }
}

fn stop_on_signals(cancel: &CancellationToken) {
    let cancel = cancel.clone();
    let handler = move || {
        if cancel.is_cancelled() {
            // Nothing half-written has a name that anything reads.
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        eprintln!("interrupted; press Ctrl-C again to exit now");
        cancel.cancel();
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("warning: Ctrl-C will not be handled: {error}");
    }
}

/// How the process ends after a run: a node that failed counts for more than expectations.
fn exit(record: &RunRecord) -> Exit {
    let failed = |node: &&NodeRecord| node.status == NodeStatus::Failed;
    if record.interrupted {
        Exit::Interrupted
    } else if record.nodes.iter().filter(failed).any(|node| !node.is_unmet()) {
        Exit::Failed
    } else if record.count(NodeStatus::Failed) > 0 {
        Exit::ExpectationFailed
    } else {
        Exit::Success
    }
}
