//! How long builds take, and what they leave on the disk.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use super::Figure;

/// Files whose change is measured, by the first of each that the tree has.
const OPERATOR_FILES: [&str; 2] = [
    "operators/tabular/src/features/numeric/clip.rs",
    "operators/src/feature/clip.rs",
];
const ENGINE_FILES: [&str; 2] = ["src/plan/fingerprint.rs", "src/engine.rs"];

/// Wall and processor seconds.
struct Cost {
    wall: Duration,
    cpu: f64,
}

/// A clean build into a folder of its own, and builds after touching an operator and an engine file.
pub(super) fn figures(tree: &Path, root: &Path) -> Result<Vec<Figure>> {
    let target = tree.join("target").join("figures");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    let clean = build(tree, root, &target)?;
    let mut figures = vec![
        ("clean build, wall".to_owned(), seconds(&clean)),
        ("clean build, CPU".to_owned(), format!("{:.0} s", clean.cpu)),
        (
            "clean build, disk".to_owned(),
            format!("{} MB", size(&target)? / 1_000_000),
        ),
    ];
    for (name, files) in [("operator", OPERATOR_FILES), ("engine", ENGINE_FILES)] {
        let file = files.iter().map(|file| tree.join(file)).find(|file| file.is_file());
        let file = file.with_context(|| format!("none of {files:?} is in {}", tree.display()))?;
        fs::File::options()
            .append(true)
            .open(file)?
            .set_modified(SystemTime::now())?;
        figures.push((
            format!("rebuild after one {name} file, wall"),
            seconds(&build(tree, root, &target)?),
        ));
    }
    fs::remove_dir_all(&target)?;
    Ok(figures)
}

/// Builds the tree; the shell reports the processor time of its children in its second line of `times`.
fn build(tree: &Path, root: &Path, target: &Path) -> Result<Cost> {
    let start = Instant::now();
    let output = Command::new("sh")
        .args([
            "-c",
            "cargo build --quiet --workspace --all-targets --locked >&2 && times",
        ])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        .env(
            "LIBTORCH",
            std::env::var_os("LIBTORCH").unwrap_or_else(|| root.join(".libtorch").into()),
        )
        .output()?;
    let wall = start.elapsed();
    ensure!(
        output.status.success(),
        "the build failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let children = text.lines().nth(1).context("the shell reports no times")?;
    let cpu = children.split_whitespace().filter_map(shell_seconds).sum();
    Ok(Cost { wall, cpu })
}

/// The seconds of a time as shells print it: `1m2.50s`.
fn shell_seconds(text: &str) -> Option<f64> {
    let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
    Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
}

fn seconds(cost: &Cost) -> String {
    format!("{:.0} s", cost.wall.as_secs_f64())
}

/// The bytes of all files below a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() {
            size(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes)
}
