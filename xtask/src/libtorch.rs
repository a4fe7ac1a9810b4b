//! libtorch from the Python wheels of PyTorch: only what a CPU build links and loads.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The version that `tch` is made for, and the two CUDA libraries that this wheel's `libtorch_cpu.so` loads; it needs
/// nothing else of CUDA.
const WHEELS: [&str; 3] = [
    "torch==2.13.0",
    "nvidia-cuda-cupti==13.0.*",
    "nvidia-cuda-runtime==13.0.*",
];

/// Written last, so that an interrupted set-up is done again.
const STAMP: &str = "towline-setup";

/// Fills `.libtorch` in the workspace, unless it is there already or the user brings a libtorch of their own.
pub(crate) fn set_up() -> Result<()> {
    let target = workspace().join(".libtorch");
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() || users_own(&target) {
        println!("libtorch: taken from the environment, nothing to do");
        return Ok(());
    }
    let stamp = WHEELS.join("\n");
    if std::fs::read_to_string(target.join(STAMP)).is_ok_and(|text| text == stamp) {
        println!("libtorch: already set up in {}", target.display());
        return Ok(());
    }
    if target.exists() {
        std::fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    let wheels = target.join("wheels");
    println!("libtorch: fetching {} with pip (about 540 MB)", WHEELS.join(", "));
    python(
        [
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--disable-pip-version-check",
            "--dest",
        ],
        &wheels,
        &WHEELS,
    )?;
    python(["-c", include_str!("extract_libtorch.py")], &wheels, &[])?;
    std::fs::remove_dir_all(&wheels)?;
    std::fs::write(target.join(STAMP), stamp)?;
    println!("libtorch: set up in {}", target.display());
    Ok(())
}

/// Whether LIBTORCH was set by the user: cargo's own setting names the folder that the set-up fills.
fn users_own(target: &Path) -> bool {
    std::env::var_os("LIBTORCH").is_some_and(|path| std::path::Path::new(&path) != target)
}

fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

fn python<const N: usize>(arguments: [&str; N], folder: &Path, rest: &[&str]) -> Result<()> {
    let status = Command::new("python3")
        .args(arguments)
        .arg(folder)
        .args(rest)
        .status()
        .context("cannot run python3: the set-up needs Python 3 with pip")?;
    if !status.success() {
        bail!("python3 {} failed ({status})", arguments.first().unwrap_or(&""));
    }
    Ok(())
}
