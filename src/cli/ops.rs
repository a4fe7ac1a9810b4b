//! `towline ops [NAME]`

use serde_json::Value;
use towline_api::{Descriptor, Purity, Registry, suggest};

use crate::cli::{Exit, operators_markdown, tables};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The operator to document.
    name: Option<String>,
    /// Output format; `md` has all operators on one page.
    #[arg(long, value_enum, default_value_t = OpsFormat::Text)]
    format: OpsFormat,
}

/// Output format of `ops`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OpsFormat {
    /// For a terminal.
    Text,
    /// Markdown.
    Md,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    if arguments.format == OpsFormat::Md {
        print!("{}", operators_markdown::page(registry));
        return Exit::Success;
    }
    let Some(name) = &arguments.name else {
        let rows = registry
            .iter()
            .map(|operator| {
                let doc = operator.doc();
                vec![
                    operator.name.to_owned(),
                    doc.lines().next().unwrap_or_default().to_owned(),
                ]
            })
            .collect();
        print!("{}", tables::table(&["operator", "what it does"], rows));
        return Exit::Success;
    };
    if let Some(operator) = registry.get(name) {
        print!("{}", document(operator));
        return Exit::Success;
    }
    eprintln!(
        "error: there is no operator `{name}`: {}",
        suggest::sentence(name, &registry.names(), "operators")
    );
    Exit::Invalid
}

fn document(operator: &Descriptor) -> String {
    let purity = match operator.purity {
        Purity::Pure => "pure: the same inputs give the same output",
        Purity::Seeded => "seeded: the same inputs and seed give the same output",
        Purity::Effect => "an effect: it changes something outside the store",
    };
    let mut out = format!("{}\n\n{}\n\nIt is {purity}.\n", operator.name, operator.doc());
    out.push_str("\nInputs\n");
    if operator.ports.is_empty() {
        out.push_str("  none: it is a source\n");
    }
    for port in operator.ports {
        let number = match (port.required, port.many) {
            (_, true) => "any number",
            (true, false) => "required",
            (false, false) => "optional",
        };
        out.push_str(&format!("  {} ({}, {number}): {}\n", port.name, port.kind, port.doc));
    }
    out.push_str("\nParameters\n");
    let schema = operator.schema();
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    if properties.is_none_or(serde_json::Map::is_empty) {
        out.push_str("  none\n");
    }
    for (name, property) in properties.into_iter().flatten() {
        let doc = property
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .replace('\n', " ");
        let default = match property.get("default") {
            Some(Value::Null) | None => String::new(),
            Some(value) => format!(", default {value}"),
        };
        let need = if required.contains(&name.as_str()) {
            "required"
        } else {
            "optional"
        };
        out.push_str(&format!("  {name} ({need}{default}): {doc}\n"));
    }
    out.push_str("\nExample\n");
    out.push_str(
        &operator
            .example
            .trim_matches('\n')
            .lines()
            .map(|line| format!("  {line}\n"))
            .collect::<String>(),
    );
    out
}
