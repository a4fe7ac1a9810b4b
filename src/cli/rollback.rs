//! `towline rollback FILE [NODE]`

use towline_api::{Form, Registry, Result, suggest};

use crate::cli::{Exit, PipelineArguments, load};
use crate::config::Pipeline;
use crate::typing::TypedNode;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// The node that published; by default, all that keep earlier generations.
    node: Option<String>,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let (pipeline, nodes) = match load::pipeline(&arguments.pipeline, registry) {
        Ok(valid) => valid,
        Err(exit) => return exit,
    };
    let chosen: Vec<usize> = match &arguments.node {
        None => (0..nodes.len()).collect(),
        Some(name) => match pipeline.nodes.iter().position(|node| node.name == *name) {
            Some(index) => vec![index],
            None => {
                let names: Vec<&str> = pipeline.nodes.iter().map(|node| node.name.as_str()).collect();
                eprintln!(
                    "error: there is no node `{name}`: {}",
                    suggest::sentence(name, &names, "nodes")
                );
                return Exit::Invalid;
            }
        },
    };
    print_results(&pipeline, roll_back(&nodes, chosen))
}

/// The results by node; nodes that keep no earlier generation are left out.
fn roll_back(nodes: &[TypedNode], chosen: Vec<usize>) -> Vec<(usize, Result<String>)> {
    let back = |index: usize| match nodes[index].built.operator.form() {
        Form::Sink(sink) => Some((index, sink.roll_back()?)),
        _ => None,
    };
    chosen.into_iter().filter_map(back).collect()
}

fn print_results(pipeline: &Pipeline, results: Vec<(usize, Result<String>)>) -> Exit {
    if results.is_empty() {
        eprintln!("error: no node keeps earlier generations (RedisSink does with `publish: swap` or `pointer`)");
        return Exit::Invalid;
    }
    let mut exit = Exit::Success;
    for (index, result) in results {
        let name = &pipeline.nodes[index].name;
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
