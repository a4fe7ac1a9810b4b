//! What developers run: `cargo xtask setup`, `servers`, `new-operator`, `docs`, `figures`.

mod docs;
mod figures;
mod import_graph;
mod import_paths;
mod libtorch;
mod new_operator;
mod readers;
mod servers;
mod source_tree;
mod wheels;
mod workspace;

use std::path::Path;

use anyhow::{Context, Result};
use clap::Parser;

/// Developer tasks of Towline.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Brings the CPU libraries of libtorch into .libtorch, unless LIBTORCH or LIBTORCH_USE_PYTORCH is set.
    Setup,
    /// Brings the Redis modules that the tests load, and the Python readers that they run, into .test-servers.
    Servers,
    /// Prints figures of the code as a table: lines, folders, import cycles; with options also builds and commands.
    Figures(figures::Options),
    /// Writes the file of a new operator, with a test, and registers it.
    NewOperator(new_operator::Arguments),
    /// Writes what is generated from the operators: their pages, the JSON Schema of pipelines, the golden digests.
    Docs,
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Setup => libtorch::set_up(),
        // Setting up the servers anew empties the folder that the readers are in.
        Task::Servers => servers::set_up().and_then(|()| readers::set_up()),
        Task::Figures(options) => figures::print(root()?, &options),
        Task::NewOperator(arguments) => new_operator::write(&arguments),
        Task::Docs => docs::write(),
    }
}

/// The root of the workspace.
fn root() -> Result<&'static Path> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().context("xtask lies in the workspace")
}
