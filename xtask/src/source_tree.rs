//! The crates and folders of a checkout.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders that hold no sources of the workspace.
const SKIPPED: [&str; 5] = ["target", "fuzz", "shared", "python", "fixtures"];

/// The `src` folder of every crate below `root`, in order.
pub(crate) fn crates(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = folders(root)?
        .into_iter()
        .filter(|folder| folder.join("Cargo.toml").is_file() && folder.join("src").is_dir())
        .map(|folder| folder.join("src"))
        .collect();
    found.sort();
    Ok(found)
}

/// Every folder below `root`, itself among them, without hidden ones and those that hold no sources.
pub(crate) fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![root.to_path_buf()];
    let mut next = 0;
    while next < found.len() {
        for entry in fs::read_dir(&found[next])? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                found.push(path);
            }
        }
        next += 1;
    }
    found.sort();
    Ok(found)
}

/// The Rust files that lie directly in a folder, in order.
pub(crate) fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file or folder of this name holds only test code.
pub(crate) fn is_test(name: &str) -> bool {
    matches!(name, "tests" | "tests.rs" | "harness.rs" | "testing.rs") || name.ends_with("_tests.rs")
}

/// The product code of a file, and the test module at its end.
pub(crate) fn split_tests(text: &str) -> (&str, &str) {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text.split_at(end)
}
