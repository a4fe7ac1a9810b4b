//! JUnit XML: a suite for each file, a case for each finding, or one case that passes.

use std::fmt::Write as _;

use super::{Findings, Region, whole_text};
use crate::document::Diagnostic;

pub(super) fn write(findings: &[Findings<'_>]) -> String {
    let cases: usize = findings.iter().map(cases).sum();
    let failures: usize = findings.iter().map(failures).sum();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"towline validate\" tests=\"{cases}\" failures=\"{failures}\">"
    );
    for findings in findings {
        suite(&mut out, findings);
    }
    out.push_str("</testsuites>\n");
    out
}

fn cases(findings: &Findings<'_>) -> usize {
    findings.diagnostics.len().max(1)
}

fn failures(findings: &Findings<'_>) -> usize {
    let failing = |diagnostic: &&Diagnostic| findings.fails(diagnostic);
    findings.diagnostics.iter().filter(failing).count()
}

fn suite(out: &mut String, findings: &Findings<'_>) {
    let file = escape(findings.file);
    let (cases, failures) = (cases(findings), failures(findings));
    let _ = writeln!(
        out,
        "  <testsuite name=\"{file}\" tests=\"{cases}\" failures=\"{failures}\">"
    );
    if findings.diagnostics.is_empty() {
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
    out.push_str("  </testsuite>\n");
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
