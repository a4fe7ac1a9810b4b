//! `towline run FILE`

use std::io::IsTerminal;

use towline_operators::contract::{Cancel, Device};

use super::{Exit, PipelineArguments, load, summary};
use crate::run::{NodeRecord, NodeStatus, Progress, ProgressMode, RunOptions, RunRecord};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// How many nodes may run at once.
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    /// Show nothing but errors and the summary.
    #[arg(long, short)]
    quiet: bool,
}

/// The options of a run; `jobs` at once, each with all processors.
pub(super) fn options(jobs: Option<usize>, quiet: bool) -> RunOptions {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mode = match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => ProgressMode::Quiet,
        (false, true) => ProgressMode::Bars,
        (false, false) => ProgressMode::Lines,
    };
    RunOptions {
        jobs: jobs.unwrap_or(processors),
        threads: processors,
        device: Device::Cpu,
        cancel: Cancel::default(),
        progress: Progress::new(mode),
        stop_at_unmet: true,
    }
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (pipeline, nodes, store, runtime) = match load::ready(&arguments.pipeline) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let options = options(arguments.jobs, arguments.quiet);
    let cancel = options.cancel.clone();
    let handler = move || {
        if cancel.is_cancelled() {
            // The second time somebody means it. Nothing half-written has a name that anything reads.
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        eprintln!("stopping; once more stops at once");
        cancel.cancel();
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("warning: Ctrl-C will not be handled: {error}");
    }
    let record = runtime.block_on(crate::run::run(pipeline, nodes, store, options));
    print!("{}", summary::of(&record));
    exit(&record)
}

/// How the process ends after a run or a plan of one: a node that failed counts for more than expectations.
pub(super) fn exit(record: &RunRecord) -> Exit {
    let failed = |node: &&NodeRecord| node.status == NodeStatus::Failed;
    if record.interrupted {
        Exit::Interrupted
    } else if record.nodes.iter().filter(failed).any(|node| !node.is_unmet()) {
        Exit::Failed
    } else if record.count(NodeStatus::Failed) > 0 {
        Exit::Unmet
    } else {
        Exit::Fine
    }
}
