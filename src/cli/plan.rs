//! `towline plan FILE`

use super::{Exit, PipelineArguments, load, run, tables};
use crate::plan::TypedNode;
use crate::run::{NodeStatus, RunRecord};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// Exit with 3 if anything would run.
    #[arg(long)]
    check: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (pipeline, nodes, store, runtime) = match load::ready(&arguments.pipeline) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let columns: Vec<String> = nodes.iter().map(|node| columns(&node.output)).collect();
    let expected: Vec<Vec<String>> = nodes.iter().map(expressions).collect();
    let record = runtime.block_on(crate::run::plan(pipeline, nodes, store, run::options(None, true)));
    let rows = record
        .nodes
        .iter()
        .zip(columns)
        .map(|(node, columns)| {
            let action = match node.status {
                NodeStatus::Reused => "reuse",
                NodeStatus::Fused => "fuse",
                NodeStatus::Ran => "run",
                NodeStatus::Skipped | NodeStatus::Failed => "fail",
            };
            vec![
                node.name.clone(),
                node.operator.clone(),
                action.to_owned(),
                node.reason.clone(),
                node.placement.clone(),
                columns,
            ]
        })
        .collect();
    print!(
        "{}",
        tables::table(&["node", "operator", "action", "why", "where", "output"], rows)
    );
    print!("{}", expectations(&record, &expected));
    let runs = record.nodes.len() - record.count(NodeStatus::Reused) - record.count(NodeStatus::Fused);
    println!("\n{runs} of {} nodes would run", record.nodes.len());
    match run::exit(&record) {
        Exit::Fine if arguments.check && runs > 0 => Exit::Check,
        exit => exit,
    }
}

fn expressions(node: &TypedNode) -> Vec<String> {
    let expectations = node.expectations.iter();
    expectations
        .map(|expectation| expectation.condition.text.clone())
        .collect()
}

/// What is expected of which node, and whether it holds as far as that is known without a run.
fn expectations(record: &RunRecord, expected: &[Vec<String>]) -> String {
    let mut rows = Vec::new();
    for (node, expressions) in record.nodes.iter().zip(expected) {
        for (place, expression) in expressions.iter().enumerate() {
            let known = node.expectations.get(place).map(|record| record.outcome.met);
            let state = match known {
                Some(true) => "holds",
                Some(false) => "does not hold",
                None => "to be checked",
            };
            rows.push(vec![node.name.clone(), expression.clone(), state.to_owned()]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", tables::table(&["node", "expectation", "state"], rows))
}

fn columns(output: &towline_operators::contract::NodeType) -> String {
    use towline_operators::contract::NodeType;
    match output {
        NodeType::Dataset(dataset) => {
            let names: Vec<&str> = dataset.schema.names().collect();
            let shown = names.iter().take(4).copied().collect::<Vec<_>>().join(", ");
            if names.len() > 4 {
                format!("{shown} and {} more", names.len() - 4)
            } else {
                shown
            }
        }
        other => other.kind().to_string(),
    }
}
