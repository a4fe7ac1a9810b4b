//! One JSON object for all files.

use serde_json::{Map, Value, json};
use towline_api::{NodeType, Schema};

use crate::config::yaml::{Diagnostic, SourceMap, Span};
use crate::pipeline_tests::TestReport;
use crate::report::{FileReport, Region};
use crate::typing::TypedPipeline;

/// Counts up when a reader of the old form could misread the new one.
const FORMAT: u32 = 1;

pub(super) fn write(reports: &[FileReport<'_>]) -> String {
    let files: Vec<Value> = reports.iter().map(file).collect();
    let count = |errors: bool| {
        let all = reports.iter().flat_map(|report| report.diagnostics);
        all.filter(|diagnostic| diagnostic.is_error() == errors).count()
    };
    let value = json!({ "format": FORMAT, "errors": count(true), "warnings": count(false), "files": files });
    format!("{value:#}\n")
}

fn file(report: &FileReport<'_>) -> Value {
    let diagnostics: Vec<Value> = report
        .diagnostics
        .iter()
        .map(|found| diagnostic(report.sources, found))
        .collect();
    let mut value = json!({
        "file": report.file,
        "passes": report.passes(),
        "diagnostics": diagnostics,
        "nodes": report.typed.map_or_else(Vec::new, nodes),
    });
    if let Some(tests) = report.tests {
        value["tests"] = tests.iter().map(|tested| test(report.sources, tested)).collect();
    }
    value
}

fn test(sources: &SourceMap, test: &TestReport) -> Value {
    let failures = test.failures.iter();
    let failures: Vec<Value> = failures
        .map(|failure| {
            json!({ "message": failure.message, "details": failure.details, "at": place(sources, failure.span) })
        })
        .collect();
    json!({ "name": test.name, "passed": test.passed(), "at": place(sources, test.span), "failures": failures })
}

fn diagnostic(sources: &SourceMap, diagnostic: &Diagnostic) -> Value {
    let related: Vec<Value> = diagnostic
        .related
        .iter()
        .map(|(span, text)| json!({ "message": text, "at": place(sources, *span) }))
        .collect();
    json!({
        "code": diagnostic.code.as_str(),
        "severity": diagnostic.severity.as_str(),
        "message": diagnostic.message,
        "help": diagnostic.help,
        "at": diagnostic.span.map(|span| place(sources, span)),
        "related": related,
    })
}

/// Lines and columns count from 1, columns in characters; offsets are bytes from 0. The end is behind the last one.
fn place(sources: &SourceMap, span: Span) -> Value {
    let region = Region::new(sources, span);
    let point =
        |(line, column): (usize, usize), offset: usize| json!({ "line": line, "column": column, "offset": offset });
    json!({ "file": region.file, "start": point(region.start, span.start), "end": point(region.end, span.end) })
}

fn nodes(typed: &TypedPipeline) -> Vec<Value> {
    let nodes = typed.pipeline.nodes.iter().zip(&typed.nodes);
    nodes
        .map(|(node, typed)| {
            json!({
                "name": node.name,
                "operator": node.op.value,
                "output": typed.as_ref().map(|typed| output(&typed.output)),
            })
        })
        .collect()
}

fn output(output: &NodeType) -> Value {
    let kind = output.kind().to_string();
    match output {
        NodeType::Dataset(dataset) => {
            json!({ "kind": kind, "splits": dataset.splits, "columns": columns(&dataset.schema) })
        }
        NodeType::Model(model) => {
            let mut output: Map<String, Value> = model
                .inputs
                .iter()
                .map(|(role, schema)| (role.clone(), json!(columns(schema))))
                .collect();
            output.insert("kind".to_owned(), json!(kind));
            output.insert("family".to_owned(), json!(model.family));
            output.insert("metrics".to_owned(), json!(model.metrics));
            Value::Object(output)
        }
        NodeType::Metrics(names) => json!({ "kind": kind, "metrics": names }),
        NodeType::Receipt => json!({ "kind": kind }),
    }
}

fn columns(schema: &Schema) -> Vec<Value> {
    let columns = schema.columns.iter();
    columns
        .map(|column| {
            let tags: Vec<&str> = column.tags.iter().map(|tag| tag.as_str()).collect();
            let domain = column.domain.as_ref();
            json!({
                "name": column.name,
                "type": column.data_type.to_string(),
                "nullable": column.nullable,
                "tags": tags,
                "domain": domain.map(|domain| json!({ "name": domain.name, "size": domain.size })),
            })
        })
        .collect()
}
