//! SARIF 2.1.0, the OASIS format for results of static analysis.

use serde_json::{Value, json};

use crate::config::yaml::{Code, Diagnostic, SourceMap, Span};
use crate::pipeline_tests::TestFailure;
use crate::report::{FileReport, Region, failure_text, whole_text};

/// The rule of a test that failed, which is not among the codes of validation.
const FAILED_TEST: &str = "failed-test";

pub(super) fn write(reports: &[FileReport<'_>]) -> String {
    let mut rules: Vec<Value> = Code::ALL
        .iter()
        .map(|code| json!({ "id": code.as_str(), "shortDescription": { "text": code.meaning() } }))
        .collect();
    let failed_test = rules.len();
    if reports.iter().any(|report| report.tests.is_some()) {
        let text = "a test of the pipeline failed";
        rules.push(json!({ "id": FAILED_TEST, "shortDescription": { "text": text } }));
    }
    let results: Vec<Value> = reports
        .iter()
        .flat_map(|report| {
            let found = report.diagnostics.iter().map(|diagnostic| result(report, diagnostic));
            let failed = report.test_failures();
            found.chain(failed.map(move |(test, failure)| test_result(report, failed_test, test, failure)))
        })
        .collect();
    let value = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "towline", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{value:#}\n")
}

fn result(report: &FileReport<'_>, diagnostic: &Diagnostic) -> Value {
    let level = if report.fails(diagnostic) { "error" } else { "warning" };
    let rule = Code::ALL.iter().position(|code| *code == diagnostic.code);
    let place = match diagnostic.span {
        Some(span) => location(report.sources, span),
        None => json!({ "physicalLocation": { "artifactLocation": { "uri": uri(report.file) } } }),
    };
    let related: Vec<Value> = diagnostic
        .related
        .iter()
        .map(|(span, text)| {
            let mut location = location(report.sources, *span);
            location["message"] = json!({ "text": text });
            location
        })
        .collect();
    json!({
        "ruleId": diagnostic.code.as_str(),
        "ruleIndex": rule,
        "level": level,
        "message": { "text": whole_text(diagnostic) },
        "locations": [place],
        "relatedLocations": related,
    })
}

fn test_result(report: &FileReport<'_>, rule: usize, test: &str, failure: &TestFailure) -> Value {
    json!({
        "ruleId": FAILED_TEST,
        "ruleIndex": rule,
        "level": "error",
        "message": { "text": format!("the test `{test}` failed: {}", failure_text(failure)) },
        "locations": [location(report.sources, failure.span)],
        "relatedLocations": [],
    })
}

fn location(sources: &SourceMap, span: Span) -> Value {
    let region = Region::new(sources, span);
    let ((line, column), (end_line, end_column)) = (region.start, region.end);
    json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(region.file) },
            "region": { "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column },
        },
    })
}

/// A path as a relative reference: RFC 3986 lets only some characters stand for themselves.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let bytes = path.bytes();
    bytes
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
