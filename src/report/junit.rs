//! JUnit XML: a suite for each file, a case for each diagnostic and each test, or one case that passes.

use std::fmt::Write as _;

use crate::config::yaml::Diagnostic;
use crate::pipeline_tests::TestReport;
use crate::report::{FileReport, Region, failure_text, whole_text};

pub(super) fn write(reports: &[FileReport<'_>]) -> String {
    let cases: usize = reports.iter().map(cases).sum();
    let failures: usize = reports.iter().map(failures).sum();
    let command = if reports.iter().any(|report| report.tests.is_some()) {
        "test"
    } else {
        "validate"
    };
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"towline {command}\" tests=\"{cases}\" failures=\"{failures}\">"
    );
    for report in reports {
        suite(&mut out, report);
    }
    out.push_str("</testsuites>\n");
    out
}

fn cases(report: &FileReport<'_>) -> usize {
    let cases = report.diagnostics.len() + report.tests.unwrap_or_default().len();
    cases.max(1)
}

fn failures(report: &FileReport<'_>) -> usize {
    let failing = |diagnostic: &&Diagnostic| report.fails(diagnostic);
    let failed = report.tests.unwrap_or_default().iter().filter(|test| !test.passed());
    report.diagnostics.iter().filter(failing).count() + failed.count()
}

fn suite(out: &mut String, report: &FileReport<'_>) {
    let file = escape(report.file);
    let (cases, failures) = (cases(report), failures(report));
    let _ = writeln!(
        out,
        "  <testsuite name=\"{file}\" tests=\"{cases}\" failures=\"{failures}\" errors=\"0\">"
    );
    if report.diagnostics.is_empty() && report.tests.is_none_or(<[TestReport]>::is_empty) {
        let _ = writeln!(out, "    <testcase classname=\"{file}\" name=\"valid\"/>");
    }
    for diagnostic in report.diagnostics {
        let place = diagnostic.span.map_or_else(
            || report.file.to_owned(),
            |span| {
                let region = Region::new(report.sources, span);
                format!("{}:{}:{}", region.file, region.start.0, region.start.1)
            },
        );
        let (code, place) = (diagnostic.code, escape(&place));
        let text = escape(&whole_text(diagnostic));
        let _ = writeln!(out, "    <testcase classname=\"{file}\" name=\"{code} at {place}\">");
        if report.fails(diagnostic) {
            let message = escape(&diagnostic.message);
            let _ = writeln!(
                out,
                "      <failure type=\"{code}\" message=\"{message}\">{text}</failure>"
            );
        } else {
            let _ = writeln!(out, "      <system-out>{text}</system-out>");
        }
        out.push_str("    </testcase>\n");
    }
    for test in report.tests.unwrap_or_default() {
        case(out, &file, test);
    }
    out.push_str("  </testsuite>\n");
}

fn case(out: &mut String, file: &str, test: &TestReport) {
    let name = escape(&test.name);
    if test.passed() {
        let _ = writeln!(out, "    <testcase classname=\"{file}\" name=\"{name}\"/>");
        return;
    }
    let _ = writeln!(out, "    <testcase classname=\"{file}\" name=\"{name}\">");
    // One element for all of it: of several, some readers take the first alone.
    let texts: Vec<String> = test.failures.iter().map(failure_text).collect();
    let message = test.failures.first().map_or("", |failure| failure.message.as_str());
    let (message, text) = (escape(message), escape(&texts.join("\n\n")));
    let _ = writeln!(
        out,
        "      <failure type=\"failed-test\" message=\"{message}\">{text}</failure>"
    );
    out.push_str("    </testcase>\n");
}

/// Text as XML 1.0 can hold it; characters that it cannot are replaced.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
