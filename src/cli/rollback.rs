//! `towline rollback FILE [NODE]`

use towline_api::{Form, Registry, Result, suggest};

use crate::cli::{Exit, PipelineArguments, load};
use crate::typing::{NodeId, TypedGraph};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// The node that published; by default, all that keep earlier generations.
    node: Option<String>,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let graph = match load::graph(&arguments.pipeline, registry) {
        Ok(graph) => graph,
        Err(exit) => return exit,
    };
    let chosen: Vec<NodeId> = match &arguments.node {
        None => graph.ids().collect(),
        Some(name) => match graph.find(name) {
            Some(id) => vec![id],
            None => {
                eprintln!(
                    "error: there is no node `{name}`: {}",
                    suggest::sentence(name, &graph.names(), "nodes")
                );
                return Exit::Invalid;
            }
        },
    };
    print_results(&graph, roll_back(&graph, chosen))
}

/// The results by node; nodes that keep no earlier generation are left out.
fn roll_back(graph: &TypedGraph, chosen: Vec<NodeId>) -> Vec<(NodeId, Result<String>)> {
    let back = |id: NodeId| match graph[id].form() {
        Form::Sink(sink) => Some((id, sink.roll_back()?)),
        _ => None,
    };
    chosen.into_iter().filter_map(back).collect()
}

fn print_results(graph: &TypedGraph, results: Vec<(NodeId, Result<String>)>) -> Exit {
    if results.is_empty() {
        eprintln!("error: no node keeps earlier generations (RedisSink does with `publish: swap` or `pointer`)");
        return Exit::Invalid;
    }
    let mut exit = Exit::Success;
    for (id, result) in results {
        let name = &graph[id].name;
        match result {
            Ok(text) => println!("{name}: {text}"),
            Err(error) => {
                eprintln!("error: {name}: {error}");
                exit = Exit::Failed;
            }
        }
    }
    exit
}
