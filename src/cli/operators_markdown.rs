//! The operators as a Markdown page: `docs/operators.md`.

use serde_json::Value;
use towline_api::{Descriptor, Port, Purity, Registry};
use towline_operators::MERLIN_NAMES;

/// Every operator with its inputs, parameters and an example, and what it is called in NVTabular.
pub(super) fn page(registry: &Registry) -> String {
    let mut out = String::from(
        "# Operators\n\nMade by `towline ops --format md` from the operators' own code; a test keeps it fresh.\n\n",
    );
    out.push_str("## NVTabular -> Towline\n\n| NVTabular | Towline |\n|---|---|\n");
    let known = MERLIN_NAMES
        .iter()
        .filter(|(operator, _)| registry.get(operator).is_some());
    let mut names: Vec<(&str, &str)> = known
        .flat_map(|(operator, names)| names.iter().map(|name| (*name, *operator)))
        .collect();
    names.sort_unstable();
    for (theirs, ours) in names {
        out.push_str(&format!("| `{theirs}` | [{ours}](#{}) |\n", ours.to_lowercase()));
    }
    for operator in registry.iter() {
        out.push_str(&section(operator));
    }
    out
}

fn section(operator: &Descriptor) -> String {
    let purity = match operator.purity {
        Purity::Pure => "The same inputs give the same output.",
        Purity::Seeded => "The same inputs and seed give the same output.",
        Purity::Effect => "It changes something outside the store.",
    };
    let mut out = format!("\n## {}\n\n{}\n\n{purity}\n", operator.name, operator.doc().trim());
    if !operator.ports.is_empty() {
        out.push_str("\n| input | takes | |\n|---|---|---|\n");
    }
    for port in operator.ports {
        out.push_str(&format!("| `{}` | {} | {} |\n", port.name, takes(port), cell(port.doc)));
    }
    let schema = operator.schema();
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let parameters = schema
        .get("properties")
        .and_then(Value::as_object)
        .filter(|parameters| !parameters.is_empty());
    if parameters.is_some() {
        out.push_str("\n| parameter | default | |\n|---|---|---|\n");
    }
    for (name, parameter) in parameters.into_iter().flatten() {
        let default = match parameter.get("default") {
            _ if required.contains(&name.as_str()) => "required".to_owned(),
            Some(Value::Null) | None => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let doc = parameter.get("description").and_then(Value::as_str).unwrap_or_default();
        out.push_str(&format!("| `{name}` | {default} | {} |\n", cell(doc)));
    }
    out.push_str(&format!("\n```yaml\n{}\n```\n", operator.example.trim_matches('\n')));
    out
}

fn takes(port: &Port) -> String {
    match (port.required, port.many) {
        (_, true) => format!("any number of {}s", port.kind),
        (true, false) => format!("a {}", port.kind),
        (false, false) => format!("a {}, or nothing", port.kind),
    }
}

/// Text in a cell of a table: one line, with no mark that would end the cell.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
