//! How long commands take as whole processes: the least of several runs, which other work on the machine disturbs least.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Figure;

const RUNS: usize = 21;

/// Prints a pipeline of so many nodes; the benchmark of validation makes the same.
const MANY_NODES: &str =
    "import sys; sys.path.insert(0, 'benches'); import validate; print(validate.pipeline(int(sys.argv[1])))";

/// Start-up, validation of 100 and 1,000 nodes, and an unchanged rerun of the main job.
pub(super) fn figures(root: &Path, binary: &Path) -> Result<Vec<Figure>> {
    let binary = binary.canonicalize().with_context(|| binary.display().to_string())?;
    let folder = std::env::temp_dir().join(format!("towline-speed-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let mut figures = vec![(
        "start (`--version`)".to_owned(),
        least(&binary, &folder, &["--version"])?,
    )];
    for nodes in ["100", "1000"] {
        let python = Command::new("python3")
            .args(["-c", MANY_NODES, nodes])
            .current_dir(root)
            .output()?;
        ensure!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
        fs::write(folder.join("many.yaml"), python.stdout)?;
        let took = least(&binary, &folder, &["validate", "many.yaml"])?;
        figures.push((format!("validate {nodes} nodes"), took));
    }
    let main_job = root.join("pipelines/offline_batch_recsys.yaml");
    let rerun = ["run", "--quiet", main_job.to_str().context("the path is not UTF-8")?];
    once(&binary, &folder, &rerun)?;
    figures.push((
        "unchanged rerun of the main job".to_owned(),
        least(&binary, &folder, &rerun)?,
    ));
    fs::remove_dir_all(&folder)?;
    Ok(figures)
}

fn least(binary: &Path, folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut least = Duration::MAX;
    for _ in 0..RUNS {
        least = least.min(once(binary, folder, arguments)?);
    }
    Ok(format!("{:.1} ms", least.as_secs_f64() * 1e3))
}

fn once(binary: &Path, folder: &Path, arguments: &[&str]) -> Result<Duration> {
    let start = Instant::now();
    let status = Command::new(binary)
        .args(arguments)
        .current_dir(folder)
        .env_remove("REDIS_URL")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "{} {arguments:?} failed", binary.display());
    Ok(start.elapsed())
}
