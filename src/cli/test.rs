//! `towline test FILES...`

use std::path::PathBuf;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use towline_operators::contract::{OperatorError, TypeContext};
use towline_operators::{SELECT, builtin};

use super::load::{check_with_tests, threads};
use super::{Exit, run};
use crate::document::{Diagnostic, SourceMap};
use crate::pipeline::Override;
use crate::run::{Failure, ProgressMode};
use crate::store::Store;
use crate::testing::{self, Setting, TestCase, TestFailure};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The pipelines.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Replace a value: `--set vars.rows=1000`. The path must exist.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    overrides: Vec<Override>,
    /// Run only the tests whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Do not even read the schemas of sources: each must declare its own with `schema`.
    #[arg(long)]
    offline: bool,
}

/// What became of a test.
struct Told {
    name: String,
    failures: Vec<TestFailure>,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let registry = builtin();
    let runtime = match threads() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let (mut passed, mut failed, mut invalid) = (0, 0, false);
    for file in &arguments.files {
        let (checked, cases) = check_with_tests(file, &arguments.overrides, &registry, arguments.offline);
        checked.tell(&file.display().to_string());
        let broken = checked.diagnostics.iter().any(Diagnostic::is_error);
        let context = TypeContext {
            session: crate::run::session(),
            offline: arguments.offline,
        };
        let typed = checked.typed.as_ref().filter(|_| !broken);
        let setting = typed.and_then(|typed| Setting::of(typed, &checked.sources, &registry, SELECT, &context));
        let Some(setting) = setting else {
            invalid = true;
            continue;
        };
        println!("{}", file.display());
        let wanted = |case: &&TestCase| {
            arguments
                .only
                .as_ref()
                .is_none_or(|only| case.name.value.contains(only))
        };
        for case in cases.iter().filter(wanted) {
            match trial(&setting, case, &runtime) {
                Ok(told) => {
                    print!("{}", text(&checked.sources, &told));
                    passed += usize::from(told.failures.is_empty());
                    failed += usize::from(!told.failures.is_empty());
                }
                Err(error) => {
                    eprintln!("error: the test `{}` could not be run: {error}", case.name.value);
                    return Exit::Failed;
                }
            }
        }
    }
    println!("\n{passed} passed, {failed} failed");
    if invalid {
        Exit::Invalid
    } else if failed > 0 {
        Exit::Check
    } else {
        Exit::Fine
    }
}

fn trial(setting: &Setting<'_>, case: &TestCase, runtime: &Runtime) -> Result<Told, Failure> {
    let folder = TempDir::new().map_err(OperatorError::io(std::env::temp_dir()))?;
    let failures = match testing::prepare(setting, case, folder.path()) {
        Ok(subject) => {
            let store = Store::open(&folder.path().join("store"))?;
            let options = run::options(None, ProgressMode::Quiet);
            runtime.block_on(subject.run(case, store, options))?.failures
        }
        // The same was checked without a folder before.
        Err(diagnostics) => diagnostics
            .into_iter()
            .map(|diagnostic| TestFailure {
                span: diagnostic.span.unwrap_or(case.name.span),
                message: diagnostic.message,
                details: String::new(),
            })
            .collect(),
    };
    Ok(Told {
        name: case.name.value.clone(),
        failures,
    })
}

fn text(sources: &SourceMap, told: &Told) -> String {
    if told.failures.is_empty() {
        return format!("  ok    {}\n", told.name);
    }
    let mut out = format!("  FAIL  {}\n", told.name);
    for failure in &told.failures {
        out.push_str(&format!(
            "    {}: {}\n",
            sources.location(failure.span),
            failure.message
        ));
        out.push_str(&indented(&failure.details));
    }
    out
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("      {line}").trim_end().to_owned() + "\n")
        .collect()
}
