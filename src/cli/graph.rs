//! `towline graph FILE`

use towline_api::Registry;

use crate::cli::{Exit, GraphFormat, PipelineArguments, load};
use crate::typing::{NodeId, TypedGraph};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// Output format.
    #[arg(long, value_enum, default_value = "text")]
    format: GraphFormat,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    match load::graph(&arguments.pipeline, registry) {
        Ok(graph) => {
            print!("{}", draw(&graph, arguments.format));
            Exit::Success
        }
        Err(exit) => exit,
    }
}

fn draw(graph: &TypedGraph, format: GraphFormat) -> String {
    let edges: Vec<(NodeId, NodeId)> = graph.edges().collect();
    let nodes = graph
        .ids()
        .map(|id| (id, graph[id].name.as_str(), graph[id].descriptor.name));
    let mut out = String::new();
    match format {
        GraphFormat::Text => {
            for &id in graph.order() {
                let from: Vec<&str> = edges
                    .iter()
                    .filter(|(_, to)| *to == id)
                    .map(|(from, _)| graph[*from].name.as_str())
                    .collect();
                let arrow = if from.is_empty() {
                    String::new()
                } else {
                    format!("  <- {}", from.join(", "))
                };
                let (name, operator) = (&graph[id].name, graph[id].descriptor.name);
                out.push_str(&format!("{name} ({operator}){arrow}\n"));
            }
        }
        GraphFormat::Mermaid => {
            out.push_str("flowchart LR\n");
            for (id, name, operator) in nodes {
                out.push_str(&format!("    n{id}[\"{name}<br/>{operator}\"]\n"));
            }
            for (from, to) in edges {
                out.push_str(&format!("    n{from} --> n{to}\n"));
            }
        }
        GraphFormat::Dot => {
            out.push_str("digraph pipeline {\n    rankdir=LR;\n    node [shape=box];\n");
            for (id, name, operator) in nodes {
                out.push_str(&format!("    n{id} [label=\"{name}\\n{operator}\"];\n"));
            }
            for (from, to) in edges {
                out.push_str(&format!("    n{from} -> n{to};\n"));
            }
            out.push_str("}\n");
        }
    }
    out
}
