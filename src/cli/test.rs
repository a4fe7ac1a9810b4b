//! `towline test FILES...`

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use towline_api::{OperatorError, Registry, TypeContext};

use crate::builtin::CHAIN_OPERATORS;
use crate::cli::load::{Checked, check_with_tests, threads};
use crate::cli::{Exit, Format};
use crate::config::Override;
use crate::config::yaml::{Diagnostic, SourceMap};
use crate::pipeline_tests;
use crate::pipeline_tests::{TestCase, TestFailure, TestReport, TestSetup};
use crate::report::{FileReport, write};
use crate::run::{Failure, RunOptions};
use crate::store::Store;

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
    /// Let warnings fail, too.
    #[arg(long)]
    deny_warnings: bool,
    /// Output format.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Do not even read the schemas of sources: each must declare its own with `schema`.
    #[arg(long)]
    offline: bool,
}

/// A file after its tests were run.
struct TestedFile {
    file: String,
    checked: Checked,
    /// Empty if the pipeline is not valid.
    tests: Option<Vec<TestReport>>,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let runtime = match threads() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let machine = arguments.format.machine();
    let mut files = Vec::new();
    for file in &arguments.files {
        match tested(file, arguments, registry, &runtime) {
            Ok(tested) => {
                if machine.is_none() {
                    print_results(&tested);
                }
                files.push(tested);
            }
            Err((test, error)) => {
                eprintln!("error: the test `{test}` could not be run: {error}");
                return Exit::Failed;
            }
        }
    }
    let tests = || files.iter().filter_map(|file| file.tests.as_ref()).flatten();
    let passed = tests().filter(|test| test.passed()).count();
    let failed = tests().count() - passed;
    match machine {
        Some(format) => print!("{}", write(format, &reports(&files, arguments.deny_warnings))),
        None => println!("\n{passed} passed, {failed} failed"),
    }
    if files.iter().any(|file| file.tests.is_none()) {
        Exit::Invalid
    } else if failed > 0 {
        Exit::CheckFailed
    } else {
        Exit::Success
    }
}

fn reports(files: &[TestedFile], deny_warnings: bool) -> Vec<FileReport<'_>> {
    let reports = files.iter().map(|file| FileReport {
        file: &file.file,
        sources: &file.checked.sources,
        diagnostics: &file.checked.diagnostics,
        typed: file.checked.typed.as_ref(),
        tests: Some(file.tests.as_deref().unwrap_or_default()),
        deny_warnings,
    });
    reports.collect()
}

fn print_results(tested: &TestedFile) {
    tested.checked.print_diagnostics(&tested.file);
    if let Some(tests) = &tested.tests {
        println!("{}", tested.file);
        for test in tests {
            print!("{}", text(&tested.checked.sources, test));
        }
    }
}

/// Checks a pipeline and runs its tests; the error names the test that could not be run.
fn tested(
    file: &Path,
    arguments: &Arguments,
    registry: &Registry,
    runtime: &Runtime,
) -> Result<TestedFile, (String, Failure)> {
    let (checked, cases) = check_with_tests(file, &arguments.overrides, registry, arguments.offline);
    let refused = |diagnostic: &Diagnostic| diagnostic.is_error() || arguments.deny_warnings;
    let broken = checked.diagnostics.iter().any(refused);
    let context = TypeContext {
        session: crate::run::session(),
        offline: arguments.offline,
    };
    let typed = checked.typed.as_ref().filter(|_| !broken);
    let setup =
        typed.and_then(|typed| TestSetup::of(typed, &checked.sources, registry, CHAIN_OPERATORS.select, &context));
    let wanted = |case: &&TestCase| {
        let only = arguments.only.as_ref();
        only.is_none_or(|only| case.name.value.contains(only))
    };
    let tests = setup.map(|setup| {
        let cases = cases.iter().filter(wanted);
        cases
            .map(|case| test_run(&setup, case, runtime).map_err(|error| (case.name.value.clone(), error)))
            .collect::<Result<Vec<TestReport>, _>>()
    });
    Ok(TestedFile {
        file: file.display().to_string(),
        tests: tests.transpose()?,
        checked,
    })
}

fn test_run(setup: &TestSetup<'_>, case: &TestCase, runtime: &Runtime) -> Result<TestReport, Failure> {
    let folder = TempDir::new().map_err(OperatorError::io(std::env::temp_dir()))?;
    let failures = match pipeline_tests::prepare(setup, case, folder.path()) {
        Ok(test_pipeline) => {
            let store = Store::open(&folder.path().join("store"))?;
            runtime
                .block_on(test_pipeline.run(case, store, RunOptions::default()))?
                .failures
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
    Ok(TestReport {
        name: case.name.value.clone(),
        span: case.name.span,
        failures,
    })
}

fn text(sources: &SourceMap, test: &TestReport) -> String {
    if test.passed() {
        return format!("  ok    {}\n", test.name);
    }
    let mut out = format!("  FAIL  {}\n", test.name);
    for failure in &test.failures {
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
