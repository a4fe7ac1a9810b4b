//! The version of the pipeline format.

use crate::config::key_errors::wrong_type;
use crate::config::yaml::{Code, Diagnostic, Mapping, Span, ValueKind};

const VERSION: i64 = 1;

/// Reports a version that is missing or not the one that this program reads.
pub(crate) fn check_version(root: &Mapping, span: Span, diagnostics: &mut Vec<Diagnostic>) {
    match root.get("version") {
        None => {
            let diagnostic = Diagnostic::error(Code::MissingKey, "the file has no `version`");
            diagnostics.push(
                diagnostic
                    .at(span.head())
                    .help(format!("begin it with `version: {VERSION}`")),
            );
        }
        Some(value) => match value.kind {
            ValueKind::Int(VERSION) => {}
            ValueKind::Int(_) | ValueKind::UInt(_) => {
                let message = format!("this program reads version {VERSION} of the pipeline format only");
                diagnostics.push(Diagnostic::error(Code::UnsupportedVersion, message).at(value.span));
            }
            _ => diagnostics.push(wrong_type("`version` must be an integer", value)),
        },
    }
}
