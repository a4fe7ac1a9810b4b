//! Other programs' readers of Parquet, which tests hold against each other on what Towline wrote.

use anyhow::Result;

use crate::wheels::Wheels;

/// DuckDB, and Polars with its engine. pandas with pyarrow would be as much again.
const READERS: Wheels = Wheels {
    name: "readers",
    folder: ".test-servers/python",
    wheels: &["duckdb==2.0.1", "polars==2.1.0", "polars-runtime-32==2.1.0"],
    size: "about 80 MB",
    stamp: "towline-readers",
};

/// Fills `.test-servers/python` in the workspace, unless it is there already.
pub(crate) fn set_up() -> Result<()> {
    READERS.set_up(|_| Ok(()))
}
