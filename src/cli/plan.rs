//! `towline plan FILE`

use std::collections::BTreeSet;

use towline_api::{NodeType, Registry};

use crate::cli::load::Ready;
use crate::cli::{Exit, PipelineArguments, choices, load, run, tables};
use crate::run::{Choices, NodeRecord, NodeStatus, ProgressMode, RunRecord};
use crate::typing::TypedNode;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    #[command(flatten)]
    choices: choices::Choosing,
    /// Exit with 3 if anything would run.
    #[arg(long)]
    check: bool,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let ready = match load::ready(&arguments.pipeline, registry) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    match choices(&arguments.choices, &ready) {
        Ok(choices) => show(ready, choices, arguments.check),
        Err(exit) => exit,
    }
}

/// The choices that the options make, or the exit after what is wrong with them was told.
pub(super) fn choices(arguments: &choices::Choosing, ready: &Ready) -> Result<Choices, Exit> {
    let changed = if arguments.ask_for_changes() {
        let record = planned(ready, Choices::default());
        print!("{}", expectations(&record, &ready.nodes));
        let runs = record.nodes.iter().enumerate().filter(|(_, node)| would_run(node));
        runs.map(|(index, _)| index).collect()
    } else {
        BTreeSet::new()
    };
    arguments
        .resolve(&ready.pipeline, &ready.nodes, &changed)
        .map_err(|message| {
            eprintln!("error: {message}");
            Exit::Invalid
        })
}

/// Prints what a run would do.
pub(super) fn show(ready: Ready, choices: Choices, check: bool) -> Exit {
    let record = planned(&ready, choices);
    let rows = record.nodes.iter().zip(&ready.nodes).map(|(node, typed)| {
        vec![
            node.name.clone(),
            node.operator.clone(),
            action(node.status).to_owned(),
            node.reason.clone(),
            node.placement.clone(),
            columns(&typed.output),
        ]
    });
    let heads = ["node", "operator", "action", "why", "where", "output"];
    print!("{}", tables::table(&heads, rows.collect()));
    print!("{}", expectations(&record, &ready.nodes));
    let runs = record.nodes.iter().filter(|node| would_run(node)).count();
    println!("\n{runs} of {} nodes would run", record.nodes.len());
    match run::exit(&record) {
        Exit::Success if check && runs > 0 => Exit::CheckFailed,
        exit => exit,
    }
}

fn planned(ready: &Ready, choices: Choices) -> RunRecord {
    let mut options = run::options(None, ProgressMode::Quiet);
    options.choices = choices;
    let (pipeline, nodes, store) = (ready.pipeline.clone(), ready.nodes.clone(), ready.store.clone());
    ready
        .runtime
        .block_on(crate::run::plan(pipeline, nodes, store, options))
}

fn would_run(node: &NodeRecord) -> bool {
    matches!(node.status, NodeStatus::Ran | NodeStatus::Failed)
}

fn action(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Reused => "reuse",
        NodeStatus::Fused => "fuse",
        NodeStatus::Ran => "run",
        NodeStatus::Skipped => "skip",
        NodeStatus::Failed => "fail",
    }
}

/// What is expected of which node, and whether it holds as far as that is known without a run.
fn expectations(record: &RunRecord, typed: &[TypedNode]) -> String {
    let mut rows = Vec::new();
    for (node, typed) in record.nodes.iter().zip(typed) {
        for (place, expectation) in typed.expectations.iter().enumerate() {
            let known = node.expectations.get(place).map(|record| record.outcome.met);
            let state = match known {
                Some(true) => "holds",
                Some(false) => "does not hold",
                None => "to be checked",
            };
            rows.push(vec![
                node.name.clone(),
                expectation.condition.text.clone(),
                state.to_owned(),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", tables::table(&["node", "expectation", "state"], rows))
}

fn columns(output: &NodeType) -> String {
    match output {
        NodeType::Dataset(dataset) => {
            let columns = dataset.schema.columns.iter();
            let named = columns.map(|column| format!("{}: {}", column.name, column.data_type));
            named.collect::<Vec<_>>().join(", ")
        }
        other => other.kind().to_string(),
    }
}
