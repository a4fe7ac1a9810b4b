//! What developers run: `cargo xtask setup`, `cargo xtask servers`.

mod libtorch;
mod servers;

use anyhow::Result;
use clap::Parser;

/// Developer tasks of Towline.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Brings the CPU libraries of libtorch into .libtorch, unless LIBTORCH or LIBTORCH_USE_PYTORCH is set.
    Setup,
    /// Brings the Redis modules that the tests load into .test-servers.
    Servers,
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Setup => libtorch::set_up(),
        Task::Servers => servers::set_up(),
    }
}
