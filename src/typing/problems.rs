//! The problems that operators report, as diagnostics at their place in the file.

use towline_api::{Problem, Site};

use crate::config::Node;
use crate::config::yaml::{Diagnostic, SourceMap};
use crate::typing::bind::Binding;

/// The diagnostic for a problem of a node's operator.
pub(crate) fn diagnostic(sources: &SourceMap, node: &Node, bindings: &[Binding], problem: Problem) -> Diagnostic {
    let span = match &problem.site {
        Site::Node => node.op.span,
        Site::Config(path) => node.config.locate(path),
        Site::ConfigKey(path) => node.config.locate_key(path),
        Site::ConfigText(path, range) => node.config.locate_text(sources, path, range.clone()),
        Site::Port(port) => bindings
            .iter()
            .find(|binding| binding.port == port)
            .map_or(node.op.span, |binding| binding.span),
    };
    let message = format!("in the node `{}`, {}: {}", node.name, node.op.value, problem.message);
    let mut diagnostic = Diagnostic::error(problem.code, message).at(span);
    diagnostic.help = problem.help;
    diagnostic
}
