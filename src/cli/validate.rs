//! `towline validate FILES...`

use std::path::PathBuf;

use towline_api::Registry;

use crate::cli::load::{Checked, check_with_tests};
use crate::cli::{Exit, Format, tables};
use crate::config::Override;
use crate::report::{FileReport, write};
use crate::typing::TypedPipeline;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The pipelines.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Replace a value: `--set vars.rows=1000`. The path must exist.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<Override>,
    /// Exit with an error if there are warnings.
    #[arg(long)]
    deny_warnings: bool,
    /// Output format.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Print the columns of every node, with their types, tags and domains.
    #[arg(long)]
    types: bool,
    /// Do not read the schemas of sources: each must declare its own with `schema`.
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let checked: Vec<(String, Checked)> = arguments
        .files
        .iter()
        .map(|file| {
            let (checked, _) = check_with_tests(file, &arguments.overrides, registry, arguments.offline);
            (file.display().to_string(), checked)
        })
        .collect();
    let reports: Vec<FileReport<'_>> = checked
        .iter()
        .map(|(file, checked)| FileReport {
            file,
            sources: &checked.sources,
            diagnostics: &checked.diagnostics,
            typed: checked.typed.as_ref(),
            tests: None,
            deny_warnings: arguments.deny_warnings,
        })
        .collect();
    match arguments.format.machine() {
        Some(format) => print!("{}", write(format, &reports)),
        None => print_results(&checked, &reports, arguments.types),
    }
    if reports.iter().all(FileReport::passes) {
        Exit::Success
    } else {
        Exit::Invalid
    }
}

fn print_results(checked: &[(String, Checked)], reports: &[FileReport<'_>], types: bool) {
    for ((file, checked), reports) in checked.iter().zip(reports) {
        checked.print_diagnostics(file);
        if let Some(typed) = reports.typed {
            if reports.passes() {
                println!("{file}: valid, {} nodes", typed.pipeline.nodes.len());
            }
            if types {
                print!("{}", columns(typed));
            }
        }
    }
}

/// The columns of every node that has a type.
fn columns(typed: &TypedPipeline) -> String {
    let mut out = String::new();
    for (node, known) in typed.pipeline.nodes.iter().zip(&typed.nodes) {
        let Some(known) = known else { continue };
        out.push_str(&format!(
            "\n{} ({}): {}\n",
            node.name,
            node.op.value,
            known.output.kind()
        ));
        if let towline_api::NodeType::Dataset(dataset) = &known.output {
            out.push_str(&format!(
                "  splits: {}\n{}",
                dataset.splits.join(", "),
                tables::schema(&dataset.schema)
            ));
        }
    }
    out
}
