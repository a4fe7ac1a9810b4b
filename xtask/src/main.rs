//! What developers run: `cargo xtask setup`, `cargo xtask servers`.

mod libtorch;
mod readers;
mod servers;
mod wheels;

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
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Setup => libtorch::set_up(),
        // Setting up the servers anew empties the folder that the readers are in.
        Task::Servers => servers::set_up().and_then(|()| readers::set_up()),
    }
}
