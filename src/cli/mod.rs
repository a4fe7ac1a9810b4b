//! The command line: one file per command.

/// Writes a line of results on standard output; in the place of the standard macro, which panics when the reader is gone.
macro_rules! println {
    ($($text:tt)*) => { $crate::cli::results::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Writes results on standard output; in the place of the standard macro, which panics when the reader is gone.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::results::write(format_args!($($text)*)) };
}

mod cache;
mod exit;
mod explain;
mod format;
mod graph;
mod init;
mod load;
mod log;
mod operators_markdown;
mod ops;
mod recommend;
mod results;
mod rollback;
mod run;
mod runs;
mod sample;
mod schema;
mod show;
mod tables;
mod test;
mod transform;
mod validate;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use towline_api::Registry;

use crate::config::Override;
use crate::config::yaml::Style;
use crate::engine::Engine;
use crate::store::Address;

pub use exit::Exit;
use format::Format;

/// One YAML file in, a finished batch of recommendations out.
#[derive(Debug, Parser)]
#[command(name = "towline", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more on standard error: `-v` information, `-vv` details. `TOWLINE_LOG=towline::store=debug` logs one module.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a pipeline; what has not changed is reused.
    Run(run::Arguments),
    /// Print what a run would do, and why.
    Plan(run::plan::Arguments),
    /// Check pipelines and report all errors, without reading data.
    Validate(validate::Arguments),
    /// Run the tests of pipelines.
    Test(test::Arguments),
    /// Draw the graph of a pipeline.
    Graph(graph::Arguments),
    /// Show what a node produced: its schema and its first rows.
    Show(show::Arguments),
    /// Print the recommendations of a user, from the last run.
    Recommend(recommend::Arguments),
    /// List, check and collect the store.
    Cache(cache::Arguments),
    /// List the runs, with their times, what they reused, and metrics.
    History(runs::history::Arguments),
    /// Print what changed from one run to another: configuration, inputs, metrics, outputs.
    Diff(runs::diff::Arguments),
    /// Write a starter pipeline and a sample of data.
    Init(init::Arguments),
    /// Restore what a sink published before its last run.
    Rollback(rollback::Arguments),
    /// Apply the fitted operators of the last run to new rows.
    Transform(transform::Arguments),
    /// Decode the ids in a node's columns to original values.
    Decode(transform::Arguments),
    /// List the operators, or document one.
    Ops(ops::Arguments),
    /// Explain a diagnostic code, with a pipeline that fails and its fix.
    Explain(explain::Arguments),
    /// Print the JSON Schema of pipeline files, for editors.
    Schema,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Arguments of every command that reads a pipeline.
#[derive(Debug, clap::Args)]
struct PipelineArguments {
    /// The pipeline.
    file: PathBuf,
    /// Replace a value: `--set vars.rows=1000`. The path must exist.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<Override>,
    /// The store: a folder, `.towline` by default; or the address of a shared store
    /// (`s3://BUCKET/PREFIX`, `gs://...`, `az://...`, `file:///FOLDER`), in place of the pipeline's `store`. Both may be
    /// given.
    #[arg(long = "store", value_name = "FOLDER|URL")]
    stores: Vec<StorePlace>,
}

/// A value of `--store`.
#[derive(Debug, Clone)]
enum StorePlace {
    Folder(PathBuf),
    Shared(Address),
}

impl FromStr for StorePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") {
            text.parse().map(StorePlace::Shared)
        } else {
            Ok(StorePlace::Folder(PathBuf::from(text)))
        }
    }
}

impl PipelineArguments {
    /// The folder of the local store.
    fn folder(&self) -> &Path {
        let folders = self.stores.iter().rev().find_map(|place| match place {
            StorePlace::Folder(folder) => Some(folder.as_path()),
            StorePlace::Shared(_) => None,
        });
        folders.unwrap_or(Path::new(".towline"))
    }

    /// The shared store that is named on the command line.
    fn shared(&self) -> Option<&Address> {
        self.stores.iter().rev().find_map(|place| match place {
            StorePlace::Shared(address) => Some(address),
            StorePlace::Folder(_) => None,
        })
    }
}

/// Output format of `graph`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GraphFormat {
    /// Indented text.
    Text,
    /// Mermaid, for Markdown.
    Mermaid,
    /// Graphviz.
    Dot,
}

impl Engine {
    /// Runs the command that the arguments of the process name.
    pub fn main(&self) -> Exit {
        main(self.registry())
    }
}

/// Runs the command that the arguments of the process name, with the operators of `registry`.
pub fn main(registry: &Registry) -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() {
                Exit::Invalid
            } else {
                Exit::Success
            };
            // If the usage cannot be printed, there is nothing else to do.
            let _ = error.print();
            return code;
        }
    };
    log::start(cli.verbose);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "towline started");
    match cli.command {
        Command::Run(arguments) => run::run(&arguments, registry),
        Command::Plan(arguments) => run::plan::run(&arguments, registry),
        Command::Validate(arguments) => validate::run(&arguments, registry),
        Command::Test(arguments) => test::run(&arguments, registry),
        Command::Graph(arguments) => graph::run(&arguments, registry),
        Command::Show(arguments) => show::run(&arguments, registry),
        Command::Recommend(arguments) => recommend::run(&arguments, registry),
        Command::Cache(arguments) => cache::run(&arguments),
        Command::History(arguments) => runs::history::run(&arguments),
        Command::Diff(arguments) => runs::diff::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Rollback(arguments) => rollback::run(&arguments, registry),
        Command::Transform(arguments) => transform::transform(&arguments, registry),
        Command::Decode(arguments) => transform::decode(&arguments, registry),
        Command::Ops(arguments) => ops::run(&arguments, registry),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Schema => schema::run(registry),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "towline", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
            Exit::Success
        }
    }
}

/// Colours on a terminal, unless `NO_COLOR` is set.
fn style(stream: &impl IsTerminal) -> Style {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Style {
        color: stream.is_terminal() && !refused,
    }
}
