//! Workflow commands of GitHub Actions: `::error file=...,line=...::message`.

use std::fmt::Write as _;

use crate::config::yaml::{SourceMap, Span};
use crate::report::{FileReport, Region, failure_text, whole_text};

pub(super) fn write(reports: &[FileReport<'_>]) -> String {
    let mut out = String::new();
    for report in reports {
        for diagnostic in report.diagnostics {
            let level = if report.fails(diagnostic) { "error" } else { "warning" };
            let place = match diagnostic.span {
                Some(span) => place(report.sources, span),
                None => format!("file={}", property(report.file)),
            };
            let text = data(&whole_text(diagnostic));
            let _ = writeln!(out, "::{level} {place},title={}::{text}", diagnostic.code);
        }
        for (test, failure) in report.test_failures() {
            let (place, test) = (place(report.sources, failure.span), property(test));
            let text = data(&failure_text(failure));
            let _ = writeln!(out, "::error {place},title=failed test {test}::{text}");
        }
    }
    out
}

fn place(sources: &SourceMap, span: Span) -> String {
    let region = Region::new(sources, span);
    let ((line, column), (end_line, end_column)) = (region.start, region.end);
    // Columns are of use to GitHub only within one line, and its end is the last character.
    let end = if line == end_line {
        format!(",col={column},endColumn={}", end_column.saturating_sub(1).max(column))
    } else {
        String::new()
    };
    format!("file={},line={line},endLine={end_line}{end}", property(region.file))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
