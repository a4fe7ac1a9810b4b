//! `towline schema`

use towline_operators::builtin;

use super::Exit;
use crate::pipeline::json_schema;

/// Prints the JSON Schema of pipeline files.
pub(super) fn run() -> Exit {
    println!("{:#}", json_schema(&builtin()));
    Exit::Fine
}
