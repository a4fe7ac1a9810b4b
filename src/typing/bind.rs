//! Binding of a node's references to its operator's ports.

use towline_api::{Descriptor, NodeType, Port, suggest};

use crate::config::yaml::{Code, Diagnostic, Span};
use crate::config::{Connections, Node, Reference};

/// One connection: a port of the operator, and the reference that feeds it.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The port's name.
    pub port: &'static str,
    /// The user's own name for it, on a port for many; else the port's.
    pub label: Option<String>,
    /// Index into the node's references.
    pub reference: usize,
    /// The span of the connection.
    pub span: Span,
}

/// The references of a node by port, or the errors in them.
pub(crate) fn bind(node: &Node, descriptor: &Descriptor) -> Result<Vec<Binding>, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let bindings = match &node.inputs {
        Connections::None => Vec::new(),
        Connections::One(reference) => positional(node, descriptor, &[reference], &mut problems),
        Connections::List(references) => {
            positional(node, descriptor, &references.iter().collect::<Vec<_>>(), &mut problems)
        }
        Connections::Named(named) => {
            let mut out = Vec::new();
            for (index, (name, _)) in named.iter().enumerate() {
                let exact = descriptor.ports.iter().find(|port| port.name == name.value);
                let Some(port) = exact.or_else(|| many(descriptor)) else {
                    let known: Vec<&str> = descriptor.ports.iter().map(|port| port.name).collect();
                    let message = format!("{} has no port `{}`", descriptor.name, name.value);
                    let help = suggest::sentence(&name.value, &known, "ports");
                    problems.push(Diagnostic::error(Code::BadInput, message).at(name.span).help(help));
                    continue;
                };
                let label = exact.is_none().then(|| name.value.clone());
                out.push(Binding {
                    port: port.name,
                    label,
                    reference: index,
                    span: name.span,
                });
            }
            // Ports in the operator's order, whatever the order in the file; equal ports keep theirs.
            out.sort_by_key(|binding| descriptor.ports.iter().position(|port| port.name == binding.port));
            out
        }
    };
    for port in descriptor.ports.iter().filter(|port| port.required) {
        if problems.is_empty() && !bindings.iter().any(|binding| binding.port == port.name) {
            let message = format!(
                "in the node `{}`, {} needs a {} on `{}`",
                node.name, descriptor.name, port.kind, port.name
            );
            let help = if descriptor.ports.len() == 1 {
                format!("add `input: NODE` ({})", port.doc)
            } else {
                format!("add it under `inputs:`, as `{}: NODE` ({})", port.name, port.doc)
            };
            problems.push(Diagnostic::error(Code::BadInput, message).at(node.op.span).help(help));
        }
    }
    if problems.is_empty() {
        Ok(bindings)
    } else {
        Err(problems)
    }
}

fn many(descriptor: &Descriptor) -> Option<&'static Port> {
    descriptor.ports.iter().find(|port| port.many)
}

fn positional(
    node: &Node,
    descriptor: &Descriptor,
    references: &[&Reference],
    problems: &mut Vec<Diagnostic>,
) -> Vec<Binding> {
    let mut out = Vec::new();
    for (index, reference) in references.iter().enumerate() {
        let Some(port) = descriptor.ports.get(index).or_else(|| many(descriptor)) else {
            let takes = match descriptor.ports.len() {
                0 => "takes no input".to_owned(),
                1 => "takes one input".to_owned(),
                n => format!("takes {n} inputs"),
            };
            let message = format!(
                "in the node `{}`, this is one input too many: {} {takes}",
                node.name, descriptor.name
            );
            problems.push(Diagnostic::error(Code::BadInput, message).at(reference.span));
            continue;
        };
        out.push(Binding {
            port: port.name,
            label: None,
            reference: index,
            span: reference.span,
        });
    }
    out
}

/// An error if the output that is connected is not of the port's kind.
pub(crate) fn check_kind(
    node: &Node,
    descriptor: &Descriptor,
    binding: &Binding,
    found: &NodeType,
) -> Option<Diagnostic> {
    let port = descriptor.ports.iter().find(|port| port.name == binding.port)?;
    (port.kind != found.kind()).then(|| {
        let message = format!(
            "in the node `{}`, `{}` of {} takes a {}, not a {}",
            node.name,
            port.name,
            descriptor.name,
            port.kind,
            found.kind()
        );
        Diagnostic::error(Code::BadInput, message).at(binding.span)
    })
}
