//! `towline run FILE`

use std::io::IsTerminal;

use clap::ValueEnum;
use towline_api::{Cancel, Registry};

use crate::cli::load::Ready;
use crate::cli::{Exit, PipelineArguments, cache, choices, load, plan, summary};
use crate::run::{NodeRecord, NodeStatus, Progress, ProgressMode, RunOptions, RunRecord};
use crate::store::RetentionPolicy;

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

/// The options of a run that shows its progress like this; `jobs` at once, each with all processors.
pub(super) fn options(jobs: Option<usize>, mode: ProgressMode) -> RunOptions {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    RunOptions {
        jobs: jobs.unwrap_or(processors),
        threads: processors,
        cancel: Cancel::default(),
        progress: Progress::new(mode),
        stop_at_unmet: true,
        choices: crate::run::Choices::default(),
        resume: false,
        verify_determinism: false,
    }
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let ready = match load::ready(&arguments.pipeline, registry) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let choices = match plan::choices(&arguments.choices, &ready) {
        Ok(choices) => choices,
        Err(exit) => return exit,
    };
    if arguments.dry_run {
        return plan::show(ready, choices, false);
    }
    let mode = match (arguments.log_format, arguments.quiet) {
        (LogFormat::Json, _) => ProgressMode::Json,
        (LogFormat::Text, true) => ProgressMode::Quiet,
        (LogFormat::Text, false) if std::io::stderr().is_terminal() => ProgressMode::Bars,
        (LogFormat::Text, false) => ProgressMode::Lines,
    };
    let mut options = options(arguments.jobs, mode);
    options.choices = choices;
    options.resume = arguments.resume;
    options.verify_determinism = arguments.verify_determinism;
    if options.verify_determinism {
        let all = 0..ready.nodes.len();
        options.choices.fresh = all.map(|node| (node, "--verify-determinism".to_owned())).collect();
    }
    stop_on_signals(&options.cancel);
    let Ready {
        pipeline,
        nodes,
        store,
        runtime,
    } = ready;
    let record = runtime.block_on(crate::run::run(pipeline, nodes, store.clone(), options));
    print!("{}", summary::of(&record));
    // Operators that were interrupted and did not stop are not waited for.
    runtime.shutdown_background();
    if !record.interrupted {
        cache::enforce_retention(&store, &RetentionPolicy::default(), record.count(NodeStatus::Ran) > 0);
    }
    exit(&record)
}

fn stop_on_signals(cancel: &Cancel) {
    let cancel = cancel.clone();
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
}

/// How the process ends after a run or a plan of one: a node that failed counts for more than expectations.
pub(super) fn exit(record: &RunRecord) -> Exit {
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
