//! A folder of its own for each test, and the binary run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub(crate) struct Workspace {
    folder: TempDir,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        Workspace {
            folder: TempDir::new().expect("a temporary folder"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("the test's folder can be written");
        path
    }

    pub(crate) fn towline(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_towline"))
            .args(arguments)
            .current_dir(self.path())
            .env_remove("REDIS_URL")
            .env("NO_COLOR", "1")
            .output()
            .expect("the binary runs")
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
