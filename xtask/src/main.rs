//! What developers run: `cargo xtask setup`, `servers`, `new-operator`, `docs`.

mod docs;
mod libtorch;
mod new_operator;
mod readers;
mod servers;
mod wheels;
mod workspace;

use anyhow::Result;
use clap::Parser;

/// Developer tasks of Towline.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Brings the CPU libraries of libtorch into .libtorch, unless LIBTORCH or LIBTORCH_USE_PYTORCH is set.
    Setup,
    /// Brings the Redis modules that the tests load, and the Python readers that they run, into .test-servers.
    Servers,
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
        Task::NewOperator(arguments) => new_operator::write(&arguments),
        Task::Docs => docs::write(),
    }
}
