//! The structure of the sources: no import cycles, folders and files of a readable size.
//!
//! What does not hold yet is listed here. The lists may only shrink: an entry that is not needed any more fails the test.

use std::collections::BTreeSet;
use std::path::Path;

use crate::import_graph::ImportGraph;
use crate::source_tree;

/// The most files in a folder.
const MOST_FILES: usize = 25;
/// The most lines of a file.
const MOST_LINES: usize = 400;

/// Folders of a crate that still import each other, as `crate: folder, folder`.
const FOLDER_CYCLES_NOT_YET: &[&str] = &[
    "operators/recommend/src: data, model, towers",
    "operators/recommend/src: torch_worker, train",
];

/// Files that still import each other, as `crate: file, file`.
const FILE_CYCLES_NOT_YET: &[&str] = &[
    "operators/api/src: error.rs, fault.rs",
    "operators/recommend/src: train/losses/in_batch.rs, train/losses/in_batch_bf16.rs",
    "kernels/src: linalg/bf16/mod.rs, linalg/gemm.rs, linalg/gemm_x86.rs",
    "operators/api/src: context.rs, operator.rs",
    "operators/api/src: files.rs, vocabulary.rs",
];

/// Folders that still hold more files.
const LARGE_FOLDERS_NOT_YET: &[&str] = &[];

/// Files that still have more lines.
const LONG_FILES_NOT_YET: &[&str] = &[
    "operators/recommend/src/tests/top_k_tests.rs",
    "tests/it/running/reruns.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The path from the root of the repository.
fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap_or(path).display().to_string();
    if path.is_empty() { ".".to_owned() } else { path }
}

/// Compares what was found with the list of what is known.
fn assert_known(what: &str, found: &[String], known: &[&str]) {
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let known: BTreeSet<&str> = known.iter().copied().collect();
    let fresh: Vec<&&str> = found.difference(&known).collect();
    let gone: Vec<&&str> = known.difference(&found).collect();
    assert!(
        fresh.is_empty() && gone.is_empty(),
        "new {what}: {fresh:#?}\n{what} that are gone, to be removed from the list: {gone:#?}"
    );
}

/// Every crate with its folder and its import graph.
fn graphs() -> Vec<(String, ImportGraph)> {
    let crates = source_tree::crates(root()).expect("the folders can be read");
    assert!(crates.len() >= 9, "{crates:?}");
    let graph = |source: &Path| ImportGraph::of_crate(source).expect("the sources can be read");
    crates.iter().map(|source| (relative(source), graph(source))).collect()
}

fn described(name: &str, cycle: &[&Path]) -> String {
    let paths: Vec<String> = cycle.iter().map(|path| path.display().to_string()).collect();
    format!("{name}: {}", paths.join(", "))
}

#[test]
fn folders_of_a_crate_do_not_import_each_other_in_a_cycle() {
    let mut found = Vec::new();
    for (name, graph) in graphs() {
        found.extend(graph.folder_cycles().iter().map(|cycle| described(&name, cycle)));
    }
    assert_known("folder cycles", &found, FOLDER_CYCLES_NOT_YET);
}

#[test]
fn files_do_not_import_each_other_in_a_cycle() {
    let mut found = Vec::new();
    for (name, graph) in graphs() {
        found.extend(graph.cycles().iter().map(|cycle| described(&name, cycle)));
    }
    assert_known("file cycles", &found, FILE_CYCLES_NOT_YET);
}

#[test]
fn folders_and_files_keep_to_their_size() {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    let mut seen = 0;
    for folder in source_tree::folders(root()).expect("the folders can be read") {
        let sources = source_tree::rust_files(&folder).expect("the folder can be read");
        if sources.len() > MOST_FILES {
            folders.push(relative(&folder));
        }
        for file in sources {
            seen += 1;
            let text = std::fs::read_to_string(&file).expect("it is text");
            if text.lines().count() > MOST_LINES {
                files.push(relative(&file));
            }
        }
    }
    assert!(seen > 400, "{seen}");
    assert_known("large folders", &folders, LARGE_FOLDERS_NOT_YET);
    assert_known("long files", &files, LONG_FILES_NOT_YET);
}
