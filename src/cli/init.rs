//! `towline init [FOLDER]`

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::{Exit, sample};

const PIPELINE: &str = include_str!("starter.yaml");
/// The store and the output do not belong under version control.
const IGNORED: &str = ".towline/\noutput/\n";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder to write to; created if it does not exist.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let files = [
        ("pipeline.yaml", PIPELINE.to_owned()),
        ("data/purchases.csv", sample::purchases()),
        ("data/products.csv", sample::products()),
        (".gitignore", IGNORED.to_owned()),
    ];
    let folder = &arguments.folder;
    let there: Vec<String> = files
        .iter()
        .map(|(name, _)| folder.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() {
        eprintln!(
            "error: nothing was written, since there is already {}",
            there.join(", ")
        );
        eprintln!("help: name a new folder: towline init my-pipeline");
        return Exit::Invalid;
    }
    for (name, text) in &files {
        let path = folder.join(name);
        if let Err(error) = write_new(&path, text) {
            eprintln!("error: {}: {error}", path.display());
            return Exit::Failed;
        }
        println!("wrote {}", path.display());
    }
    println!("\nnext:");
    if folder != Path::new(".") {
        println!("  cd {}", folder.display());
    }
    println!("  towline run pipeline.yaml");
    println!("  towline show pipeline.yaml named");
    Exit::Success
}

/// Never replaces a file, not even one that appeared since somebody looked.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}
