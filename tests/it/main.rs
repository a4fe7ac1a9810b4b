//! The behaviour of the whole, in one binary.

#![expect(
    clippy::expect_used,
    reason = "a test fails by a panic, also in what its functions share"
)]

mod checking;
mod command_line;
mod fixture;
#[path = "../../xtask/src/import_graph.rs"]
mod import_graph;
#[path = "../../xtask/src/import_paths.rs"]
mod import_paths;
mod operating;
mod project;
mod running;
#[path = "../../xtask/src/source_tree.rs"]
mod source_tree;
mod storing;
mod validating;
