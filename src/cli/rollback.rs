//! `towline rollback FILE [NODE]`

use towline_api::{Registry, Result, suggest};

use crate::cli::{Exit, PipelineArguments, load};
use crate::typing::{NodeId, TypedGraph};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// The node that published; all that keep earlier generations by default.
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
    tell(&graph, roll_back(&graph, chosen))
}

/// What came of it, by node; nodes that keep nothing are left out.
fn roll_back(graph: &TypedGraph, chosen: Vec<NodeId>) -> Vec<(NodeId, Result<String>)> {
    let back = |id: NodeId| Some((id, graph[id].built.operator.roll_back()?));
    chosen.into_iter().filter_map(back).collect()
}

fn tell(graph: &TypedGraph, results: Vec<(NodeId, Result<String>)>) -> Exit {
    if results.is_empty() {
        eprintln!("error: no node keeps what it published before (RedisSink does with `publish: swap` or `pointer`)");
        return Exit::Invalid;
    }
    let mut exit = Exit::Fine;
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
