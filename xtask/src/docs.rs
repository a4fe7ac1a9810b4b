//! What is generated from the operators: reference pages, the JSON Schema of pipelines, the digests of golden outputs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::{cargo, root};

/// Arguments of `towline`, and the file that its output goes into.
const PAGES: [(&[&str], &str); 3] = [
    (&["ops", "--format", "md"], "docs/operators.md"),
    (&["schema"], "docs/pipeline.schema.json"),
    (&["explain"], "docs/codes/README.md"),
];

/// The selection of packages that the whole project builds with: another one builds the dependencies a second time.
const SELECTION: [&str; 3] = ["--workspace", "--all-targets", "--locked"];

/// Writes the pages, and the digests of operators that are new or have another `CODE_VERSION`.
pub(crate) fn write() -> Result<()> {
    cargo(&[&["build"][..], &SELECTION[..]].concat(), &[])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let program = target.join("debug/towline");
    for (arguments, file) in PAGES {
        let output = Command::new(&program)
            .args(arguments)
            .current_dir(root())
            .output()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        ensure!(output.status.success(), "towline {} failed", arguments.join(" "));
        fs::write(root().join(file), output.stdout).with_context(|| format!("{file} cannot be written"))?;
    }
    let test = [&["test"][..], &SELECTION[..], &["golden_outputs"][..]].concat();
    cargo(&test, &[("TOWLINE_GOLDEN", "write")])
}
