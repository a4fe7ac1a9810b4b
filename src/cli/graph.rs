//! `towline graph FILE`

use petgraph::visit::EdgeRef;
use towline_api::Registry;

use crate::cli::{Exit, GraphFormat, PipelineArguments, load};
use crate::config::Pipeline;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// Output format.
    #[arg(long, value_enum, default_value = "text")]
    format: GraphFormat,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    match load::pipeline(&arguments.pipeline, registry) {
        Ok((pipeline, _)) => {
            print!("{}", draw(&pipeline, arguments.format));
            Exit::Success
        }
        Err(exit) => exit,
    }
}

fn draw(pipeline: &Pipeline, format: GraphFormat) -> String {
    let edges: Vec<(usize, usize)> = pipeline
        .graph
        .edge_references()
        .map(|edge| (edge.source().index(), edge.target().index()))
        .collect();
    let nodes = pipeline.nodes.iter().enumerate();
    let mut out = String::new();
    match format {
        GraphFormat::Text => {
            for &index in &pipeline.order {
                let node = &pipeline.nodes[index];
                let from: Vec<&str> = edges
                    .iter()
                    .filter(|(_, to)| *to == index)
                    .map(|(from, _)| pipeline.nodes[*from].name.as_str())
                    .collect();
                let arrow = if from.is_empty() {
                    String::new()
                } else {
                    format!("  <- {}", from.join(", "))
                };
                out.push_str(&format!("{} ({}){arrow}\n", node.name, node.op.value));
            }
        }
        GraphFormat::Mermaid => {
            out.push_str("flowchart LR\n");
            for (index, node) in nodes {
                out.push_str(&format!("    n{index}[\"{}<br/>{}\"]\n", node.name, node.op.value));
            }
            for (from, to) in edges {
                out.push_str(&format!("    n{from} --> n{to}\n"));
            }
        }
        GraphFormat::Dot => {
            out.push_str("digraph pipeline {\n    rankdir=LR;\n    node [shape=box];\n");
            for (index, node) in nodes {
                out.push_str(&format!(
                    "    n{index} [label=\"{}\\n{}\"];\n",
                    node.name, node.op.value
                ));
            }
            for (from, to) in edges {
                out.push_str(&format!("    n{from} -> n{to};\n"));
            }
            out.push_str("}\n");
        }
    }
    out
}
