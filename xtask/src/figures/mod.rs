//! Figures of the code base, as a table with a column for each revision.

mod build;
mod checkout;
mod size;
mod speed;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use checkout::Checkout;

/// A figure: its name and its value.
type Figure = (String, String);

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Git revisions to compare with the working tree, such as `v0.1.0`.
    revisions: Vec<String>,
    /// Also build each tree from nothing, and again after touching one operator and one engine file. Takes long.
    #[arg(long)]
    build: bool,
    /// Also measure an unchanged rerun, validation and start-up of this binary.
    #[arg(long, value_name = "BINARY")]
    speed: Option<PathBuf>,
}

/// Prints the table.
pub(crate) fn print(root: &Path, options: &Options) -> Result<()> {
    let mut columns = Vec::new();
    for revision in &options.revisions {
        let checkout = Checkout::of(root, revision)?;
        let figures = figures(checkout.path(), root, options.build).with_context(|| format!("revision {revision}"))?;
        columns.push((revision.clone(), figures));
    }
    columns.push(("working tree".to_owned(), figures(root, root, options.build)?));
    print_table(&columns);
    if let Some(binary) = &options.speed {
        println!();
        print_table(&[(binary.display().to_string(), speed::figures(root, binary)?)]);
    }
    Ok(())
}

/// The figures of one tree; `root` is the checkout that libtorch was set up in.
fn figures(tree: &Path, root: &Path, build: bool) -> Result<Vec<Figure>> {
    let mut figures = size::figures(tree)?;
    if build {
        figures.extend(build::figures(tree, root)?);
    }
    Ok(figures)
}

/// A Markdown table: a row for each name, in the order in which the columns have them.
fn print_table(columns: &[(String, Vec<Figure>)]) {
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in columns.iter().rev().flat_map(|(_, figures)| figures) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let header: Vec<&str> = columns.iter().map(|(title, _)| title.as_str()).collect();
    println!("| figure | {} |", header.join(" | "));
    println!("|---|{}", "---:|".repeat(columns.len()));
    for name in names {
        let value = |figures: &[Figure]| {
            let found = figures.iter().find(|(other, _)| other == name);
            found.map_or_else(String::new, |(_, value)| value.clone())
        };
        let row: Vec<String> = columns.iter().map(|(_, figures)| value(figures)).collect();
        println!("| {name} | {} |", row.join(" | "));
    }
}
