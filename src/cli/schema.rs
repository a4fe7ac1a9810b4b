//! `towline schema`

use towline_operators::contract::Registry;

use super::Exit;
use crate::pipeline::json_schema;

/// Prints the JSON Schema of pipeline files.
pub(super) fn run(registry: &Registry) -> Exit {
    println!("{:#}", json_schema(registry));
    Exit::Fine
}
