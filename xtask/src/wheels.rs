//! Wheels of PyPI, unpacked into a folder by pip.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::root;

/// A folder of the workspace with what is in some wheels.
pub(crate) struct Wheels {
    /// What they are, for messages.
    pub(crate) name: &'static str,
    /// The folder, from the workspace.
    pub(crate) folder: &'static str,
    /// The wheels, each with its version.
    pub(crate) wheels: &'static [&'static str],
    /// How much there is to fetch.
    pub(crate) size: &'static str,
    /// The file that says what is there: written last, so that an interrupted set-up is done again.
    pub(crate) stamp: &'static str,
}

impl Wheels {
    /// Fills the folder, unless it is filled already; then `finish` makes the files ready for use.
    pub(crate) fn set_up(&self, finish: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let (name, target) = (self.name, root().join(self.folder));
        let stamp = self.wheels.join("\n");
        if std::fs::read_to_string(target.join(self.stamp)).is_ok_and(|text| text == stamp) {
            println!("{name}: already set up in {}", target.display());
            return Ok(());
        }
        if target.exists() {
            std::fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
        }
        println!("{name}: fetching {} with pip ({})", self.wheels.join(", "), self.size);
        let status = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["--disable-pip-version-check", "--target"])
            .arg(&target)
            .args(self.wheels)
            .status()
            .with_context(|| format!("cannot run python3: the {name} come with Python 3 and pip"))?;
        if !status.success() {
            bail!("pip could not fetch the {name} ({status})");
        }
        finish(&target)?;
        std::fs::write(target.join(self.stamp), stamp)?;
        println!("{name}: set up in {}", target.display());
        Ok(())
    }
}
