//! What is expected of a node, as its file has it.

use crate::config::expression::{Complaint, Expr, parse};
use crate::config::nodes::wrong_type;
use crate::config::yaml::{Code, Diagnostic, Placement, SourceMap, Span, Value, ValueKind};

/// An expectation of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// The expression as it is written, with every interpolation done.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// The same as `file:line:column`.
    pub location: String,
    expression: Expr,
    placement: Placement,
}

impl Expectation {
    /// The expression, parsed.
    pub(crate) fn expression(&self) -> &Expr {
        &self.expression
    }

    /// The diagnostic for what is wrong with a part of the expression, at its place in the file.
    pub(crate) fn diagnostic(&self, complaint: Complaint) -> Diagnostic {
        placed(complaint, &self.placement)
    }
}

/// The expectations in a list of expressions, or in a single one; what is wrong with others is told.
pub(crate) fn read_expectations(sources: &SourceMap, value: &Value) -> (Vec<Expectation>, Vec<Diagnostic>) {
    let items = match &value.kind {
        ValueKind::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(value),
    };
    let (mut expectations, mut diagnostics) = (Vec::new(), Vec::new());
    for item in items {
        let Some(text) = item.as_str() else {
            let diagnostic = wrong_type("an expectation must be a text", item);
            diagnostics.push(diagnostic.help("write a condition such as `rows > 0`, in quotes where it has any"));
            continue;
        };
        let placement = sources.placement(item.span, text);
        match parse(text) {
            Ok(expression) => expectations.push(Expectation {
                text: text.to_owned(),
                span: item.span,
                location: sources.location(item.span),
                expression,
                placement,
            }),
            Err(complaint) => diagnostics.push(placed(complaint, &placement)),
        }
    }
    (expectations, diagnostics)
}

fn placed(complaint: Complaint, placement: &Placement) -> Diagnostic {
    let span = placement.range(complaint.place.start..complaint.place.end);
    let message = match complaint.code {
        Code::BadExpectation => format!("in this expectation: {}", complaint.message),
        _ => complaint.message,
    };
    let mut diagnostic = Diagnostic::error(complaint.code, message).at(span);
    diagnostic.help = complaint.help;
    diagnostic
}
