//! Expectations as they are written in the file.

use crate::config::expression::{Expr, ExpressionError, parse};
use crate::config::key_errors::wrong_type;
use crate::config::yaml::{Code, Diagnostic, SourceMap, Span, SpanMap, Value, ValueKind};

/// An expectation of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// The expression as it is written, with every interpolation done.
    pub text: String,
    /// The span of the expression.
    pub span: Span,
    /// The same as `file:line:column`.
    pub location: String,
    expression: Expr,
    span_map: SpanMap,
}

impl Expectation {
    /// The expression, parsed.
    pub(crate) fn expression(&self) -> &Expr {
        &self.expression
    }

    /// The diagnostic for an error in a part of the expression, at its span in the file.
    pub(crate) fn diagnostic(&self, error: ExpressionError) -> Diagnostic {
        placed(error, &self.span_map)
    }
}

/// The expectations in a list of expressions or in a single one, and the errors of those that are invalid.
pub(crate) fn read_expectations(sources: &SourceMap, value: &Value) -> (Vec<Expectation>, Vec<Diagnostic>) {
    let items = match &value.kind {
        ValueKind::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(value),
    };
    let (mut expectations, mut diagnostics) = (Vec::new(), Vec::new());
    for item in items {
        let Some(text) = item.as_str() else {
            let diagnostic = wrong_type("an expectation must be a string", item);
            diagnostics.push(diagnostic.help("write a condition such as `rows > 0`, in quotes where it has any"));
            continue;
        };
        let span_map = sources.span_map(item.span, text);
        match parse(text) {
            Ok(expression) => expectations.push(Expectation {
                text: text.to_owned(),
                span: item.span,
                location: sources.location(item.span),
                expression,
                span_map,
            }),
            Err(error) => diagnostics.push(placed(error, &span_map)),
        }
    }
    (expectations, diagnostics)
}

fn placed(error: ExpressionError, span_map: &SpanMap) -> Diagnostic {
    let span = span_map.range(error.range.start..error.range.end);
    let message = match error.code {
        Code::BadExpectation => format!("in this expectation: {}", error.message),
        _ => error.message,
    };
    let mut diagnostic = Diagnostic::error(error.code, message).at(span);
    diagnostic.help = error.help;
    diagnostic
}
