//! A folder of its own for each test, and the binary run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use towline::run::RunRecord;

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
        self.towline_with(arguments, &[])
    }

    /// The binary, run with these environment variables.
    pub(crate) fn towline_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        self.program(Path::new(env!("CARGO_BIN_EXE_towline")), arguments, environment)
    }

    /// The binary of an example.
    pub(crate) fn example(&self, name: &str, arguments: &[&str]) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_towline"))
            .with_file_name("examples")
            .join(name);
        self.program(&program, arguments, &[])
    }

    fn program(&self, program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(self.path())
            .env_remove("REDIS_URL")
            .env("NO_COLOR", "1")
            .output()
            .expect("the binary runs")
    }

    /// The records of all runs, the oldest first.
    pub(crate) fn records(&self) -> Vec<RunRecord> {
        let history = self.towline(&["history", "--json"]);
        stdout(&history)
            .lines()
            .map(|line| serde_json::from_str(line).expect("a record"))
            .collect()
    }

    /// What is left of unfinished work in the store and beside outputs.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let unfinished = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            path.parent().is_some_and(|folder| folder.ends_with(".towline/tmp")) || name.starts_with(".towline-")
        };
        self.files_below("").into_iter().filter(unfinished).collect()
    }

    /// The contents of all files below a folder, as far as they are text.
    pub(crate) fn texts_below(&self, folder: &str) -> Vec<String> {
        let files = self.files_below(folder).into_iter();
        files
            .filter_map(|path| std::fs::read(path).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    fn files_below(&self, folder: &str) -> Vec<PathBuf> {
        let mut folders = vec![self.path().join(folder)];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("it is a folder") {
                let path = entry.expect("it can be listed").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files
    }
}

/// The folder of MovieLens; tests that need it are ignored where the build has not found it.
pub(crate) fn movielens() -> &'static Path {
    Path::new(option_env!("TOWLINE_MOVIELENS").unwrap_or("MovieLens was not there when the tests were built"))
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
