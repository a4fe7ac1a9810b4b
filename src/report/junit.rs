//! JUnit XML: a suite for each file, a case for each finding and each test, or one case that passes.

use std::fmt::Write as _;

use crate::config::yaml::Diagnostic;
use crate::pipeline_tests::Tested;
use crate::report::{Findings, Region, failure_text, whole_text};

pub(super) fn write(findings: &[Findings<'_>]) -> String {
    let cases: usize = findings.iter().map(cases).sum();
    let failures: usize = findings.iter().map(failures).sum();
    let command = if findings.iter().any(|findings| findings.tests.is_some()) {
        "test"
    } else {
        "validate"
    };
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"towline {command}\" tests=\"{cases}\" failures=\"{failures}\">"
    );
    for findings in findings {
        suite(&mut out, findings);
    }
    out.push_str("</testsuites>\n");
    out
}

fn cases(findings: &Findings<'_>) -> usize {
    let cases = findings.diagnostics.len() + findings.tests.unwrap_or_default().len();
    cases.max(1)
}

fn failures(findings: &Findings<'_>) -> usize {
    let failing = |diagnostic: &&Diagnostic| findings.fails(diagnostic);
    let failed = findings.tests.unwrap_or_default().iter().filter(|test| !test.passed());
    findings.diagnostics.iter().filter(failing).count() + failed.count()
}

fn suite(out: &mut String, findings: &Findings<'_>) {
    let file = escape(findings.file);
    let (cases, failures) = (cases(findings), failures(findings));
    let _ = writeln!(
        out,
        "  <testsuite name=\"{file}\" tests=\"{cases}\" failures=\"{failures}\" errors=\"0\">"
    );
    if findings.diagnostics.is_empty() && findings.tests.is_none_or(<[Tested]>::is_empty) {
        let _ = writeln!(out, "    <testcase classname=\"{file}\" name=\"valid\"/>");
    }
    for diagnostic in findings.diagnostics {
        let place = diagnostic.span.map_or_else(
            || findings.file.to_owned(),
            |span| {
                let region = Region::new(findings.sources, span);
                format!("{}:{}:{}", region.file, region.start.0, region.start.1)
            },
        );
        let (code, place) = (diagnostic.code, escape(&place));
        let text = escape(&whole_text(diagnostic));
        let _ = writeln!(out, "    <testcase classname=\"{file}\" name=\"{code} at {place}\">");
        if findings.fails(diagnostic) {
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
    for test in findings.tests.unwrap_or_default() {
        case(out, &file, test);
    }
    out.push_str("  </testsuite>\n");
}

fn case(out: &mut String, file: &str, test: &Tested) {
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
