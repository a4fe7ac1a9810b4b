//! Lines, folders and import cycles.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Figure;
use crate::import_graph::ImportGraph;
use crate::source_tree::{crates, folders, is_test, rust_files, split_tests};

/// Files beyond this are counted.
const LONG_FILE: usize = 400;

/// Code lines of product and test code: neither empty nor a comment alone.
#[derive(Default, Clone, Copy)]
struct Lines {
    product: usize,
    test: usize,
}

/// The figures of the sources below `tree`.
pub(super) fn figures(tree: &Path) -> Result<Vec<Figure>> {
    let (mut figures, mut total) = (Vec::new(), Lines::default());
    let (mut cycles, mut in_cycles, mut folder_cycles) = (0, 0, 0);
    for source in crates(tree)? {
        let lines = lines_below(&source)?;
        total.product += lines.product;
        total.test += lines.test;
        let graph = ImportGraph::of_crate(&source)?;
        cycles += graph.cycles().len();
        in_cycles += graph.cycles().iter().map(Vec::len).sum::<usize>();
        folder_cycles += graph.folder_cycles().len();
        figures.push((format!("code lines, `{}`", package(&source)?), grouped(lines.product)));
    }
    let integration = lines_below(&tree.join("tests"))?;
    figures.push(("code lines, all crates".to_owned(), grouped(total.product)));
    let tests = total.test + integration.product + integration.test;
    figures.push(("code lines, tests".to_owned(), grouped(tests)));
    figures.push(("largest folder".to_owned(), largest_folder(tree)?));
    figures.push((format!("files over {LONG_FILE} lines"), long_files(tree)?.to_string()));
    figures.push((
        "import cycles between top-level folders".to_owned(),
        folder_cycles.to_string(),
    ));
    figures.push((
        "import cycles between files".to_owned(),
        format!("{cycles} ({in_cycles} files)"),
    ));
    Ok(figures)
}

/// The name of the package whose `src` folder this is.
fn package(source: &Path) -> Result<String> {
    let manifest = source.with_file_name("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    let name = text.lines().find_map(|line| line.strip_prefix("name = \""));
    let name = name.and_then(|rest| rest.split('"').next());
    Ok(name
        .with_context(|| format!("{} has no name", manifest.display()))?
        .to_owned())
}

fn lines_below(folder: &Path) -> Result<Lines> {
    let mut lines = Lines::default();
    for folder in folders(folder)? {
        for file in rust_files(&folder)? {
            let text = fs::read_to_string(&file)?;
            let (product, test) = split_tests(&text);
            if file.iter().any(|part| is_test(&part.to_string_lossy())) {
                lines.test += code_lines(&text);
            } else {
                lines.product += code_lines(product);
                lines.test += code_lines(test);
            }
        }
    }
    Ok(lines)
}

fn code_lines(text: &str) -> usize {
    let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    text.lines().filter(code).count()
}

fn largest_folder(tree: &Path) -> Result<String> {
    let mut largest = (0, String::new());
    for folder in folders(tree)? {
        let files = rust_files(&folder)?.len();
        // Integration tests are one binary, a file for each subject.
        if files > largest.0 && !folder.ends_with("tests/it") {
            largest = (files, folder.strip_prefix(tree)?.display().to_string());
        }
    }
    Ok(format!("{} files (`{}`)", largest.0, largest.1))
}

fn long_files(tree: &Path) -> Result<usize> {
    let mut long = 0;
    for folder in folders(tree)? {
        for file in rust_files(&folder)? {
            long += usize::from(fs::read_to_string(&file)?.lines().count() > LONG_FILE);
        }
    }
    Ok(long)
}

/// The digits in groups of three.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
