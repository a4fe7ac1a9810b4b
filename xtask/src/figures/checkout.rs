//! The files of a git revision in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A folder with the files of a revision, removed when it is dropped.
pub(super) struct Checkout(PathBuf);

impl Checkout {
    /// The files of `revision`.
    pub(super) fn of(root: &Path, revision: &str) -> Result<Self> {
        let safe: String = revision.chars().filter(char::is_ascii_alphanumeric).collect();
        let folder = std::env::temp_dir().join(format!("towline-figures-{}-{safe}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let checkout = Checkout(folder);
        let mut archive = Command::new("git")
            .args(["archive", "--format=tar", revision])
            .current_dir(root)
            .stdout(Stdio::piped())
            .spawn()
            .context("git does not run")?;
        let files = archive.stdout.take().context("git writes no archive")?;
        let unpacked = Command::new("tar")
            .arg("-x")
            .current_dir(&checkout.0)
            .stdin(files)
            .status()?;
        ensure!(
            archive.wait()?.success() && unpacked.success(),
            "git archive {revision} failed"
        );
        Ok(checkout)
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // A folder that stays behind in the temporary folder does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
