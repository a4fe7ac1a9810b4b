//! `towline schema`

use towline_api::Registry;

use crate::cli::Exit;
use crate::config::json_schema;

/// Prints the JSON Schema of pipeline files.
pub(super) fn run(registry: &Registry) -> Exit {
    println!("{:#}", json_schema(registry));
    Exit::Success
}
