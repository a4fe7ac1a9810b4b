//! `towline validate FILES...`

use std::path::PathBuf;

use towline_operators::builtin;

use super::Exit;
use super::load::check;
use crate::pipeline::Override;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The pipelines.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Replace a value: `--set vars.rows=1000`. The path must exist.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<Override>,
    /// Let warnings fail, too.
    #[arg(long)]
    deny_warnings: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let registry = builtin();
    let mut exit = Exit::Fine;
    for file in &arguments.files {
        let checked = check(file, &arguments.overrides, &registry);
        checked.tell(file);
        let warned = arguments.deny_warnings && !checked.diagnostics.is_empty();
        match &checked.valid {
            Some((pipeline, _)) if !warned => {
                println!("{}: valid, {} nodes", file.display(), pipeline.nodes.len());
            }
            _ => exit = Exit::Invalid,
        }
    }
    exit
}
