//! What developers run: `cargo xtask setup`.

mod libtorch;

use anyhow::Result;
use clap::Parser;

/// Developer tasks of Towline.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Brings the CPU libraries of libtorch into .libtorch, unless LIBTORCH or LIBTORCH_USE_PYTORCH is set.
    Setup,
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Setup => libtorch::set_up(),
    }
}
