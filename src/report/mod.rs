//! Machine-readable reports of validation and tests; the text form is [`render`](crate::config::yaml::render).

mod github;
mod json;
mod junit;
mod sarif;

use crate::config::yaml::{Diagnostic, SourceMap, Span};
use crate::pipeline_tests::{TestFailure, TestReport};
use crate::typing::TypedPipeline;

/// A machine-readable format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineFormat {
    /// One JSON object: all diagnostics, and the type of every node.
    Json,
    /// Workflow commands of GitHub Actions, which become annotations of the lines.
    Github,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// JUnit XML: a suite for each file.
    Junit,
}

/// The results of one file and those that it includes.
#[derive(Clone, Copy)]
pub struct FileReport<'a> {
    /// The file, as it was named.
    pub file: &'a str,
    /// The texts that the spans point into.
    pub sources: &'a SourceMap,
    /// Errors and warnings, in the order of the text.
    pub diagnostics: &'a [Diagnostic],
    /// The pipeline and the types of its nodes, as far as they are known.
    pub typed: Option<&'a TypedPipeline>,
    /// The results of the pipeline's tests, if they were run.
    pub tests: Option<&'a [TestReport]>,
    /// Whether warnings fail.
    pub deny_warnings: bool,
}

impl FileReport<'_> {
    /// Whether the file passes.
    pub fn passes(&self) -> bool {
        let tests = self.tests.unwrap_or_default();
        !self.diagnostics.iter().any(|diagnostic| self.fails(diagnostic)) && tests.iter().all(TestReport::passed)
    }

    /// Every failure of a test, with the test's name.
    fn test_failures(&self) -> impl Iterator<Item = (&str, &TestFailure)> {
        let tests = self.tests.unwrap_or_default().iter();
        tests.flat_map(|test| test.failures.iter().map(|failure| (test.name.as_str(), failure)))
    }

    fn fails(&self, diagnostic: &Diagnostic) -> bool {
        diagnostic.is_error() || self.deny_warnings
    }
}

/// Serialises the reports of all files as one text.
pub fn write(format: MachineFormat, reports: &[FileReport<'_>]) -> String {
    match format {
        MachineFormat::Json => json::write(reports),
        MachineFormat::Github => github::write(reports),
        MachineFormat::Sarif => sarif::write(reports),
        MachineFormat::Junit => junit::write(reports),
    }
}

/// A span as people count: lines and columns from 1, columns in characters, the end behind the last character.
struct Region<'a> {
    file: &'a str,
    start: (usize, usize),
    end: (usize, usize),
}

impl<'a> Region<'a> {
    fn new(sources: &'a SourceMap, span: Span) -> Self {
        Region {
            file: sources.name(span.file),
            start: sources.line_col(span.file, span.start),
            end: sources.line_col(span.file, span.end),
        }
    }
}

/// The text of a failed test, for formats with one text field.
fn failure_text(failure: &TestFailure) -> String {
    format!("{}\n{}", failure.message, failure.details)
        .trim_end()
        .to_owned()
}

/// The message with the fix, for formats with one text field.
fn whole_text(diagnostic: &Diagnostic) -> String {
    match &diagnostic.help {
        Some(help) => format!("{}\nhelp: {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    }
}
