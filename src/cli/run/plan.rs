//! `towline plan FILE`

use std::collections::BTreeSet;
use std::sync::Arc;

use towline_api::{NodeType, Registry};

use crate::cli::load::Ready;
use crate::cli::run::choices;
use crate::cli::{Exit, PipelineArguments, load, tables};
use crate::plan::{Decision, Plan, PlannedNode, Selection};
use crate::run::RunOptions;
use crate::typing::TypedGraph;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    #[command(flatten)]
    choices: choices::Choosing,
    /// Exit with 3 if anything would run.
    #[arg(long)]
    check: bool,
}

pub(in crate::cli) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let ready = match load::ready(&arguments.pipeline, registry) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    match selection(&arguments.choices, &ready) {
        Ok(selection) => show(&ready, selection, arguments.check),
        Err(exit) => exit,
    }
}

/// The selection that the options make, or the exit after what is wrong with them was told.
pub(in crate::cli) fn selection(arguments: &choices::Choosing, ready: &Ready) -> Result<Selection, Exit> {
    let changed = if arguments.ask_for_changes() {
        let plan = planned(ready, Selection::default())?;
        print!("{}", expectations(&plan, &ready.graph));
        plan.would_run()
    } else {
        BTreeSet::new()
    };
    arguments.resolve(&ready.graph, &changed).map_err(|message| {
        eprintln!("error: {message}");
        Exit::Invalid
    })
}

/// Prints what a run would do.
pub(in crate::cli) fn show(ready: &Ready, selection: Selection, check: bool) -> Exit {
    let plan = match planned(ready, selection) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    let rows = plan.nodes.iter().map(|node| {
        vec![
            node.name.clone(),
            node.operator.clone(),
            action(&node.overall()).to_owned(),
            node.why(),
            node.placement.to_string(),
            columns(&ready.graph[node.id].output),
        ]
    });
    let heads = ["node", "operator", "action", "why", "where", "output"];
    print!("{}", tables::table(&heads, rows.collect()));
    print!("{}", expectations(&plan, &ready.graph));
    let runs = plan.would_run().len();
    println!("\n{runs} of {} nodes would run", plan.nodes.len());
    match exit(&plan) {
        Exit::Success if check && runs > 0 => Exit::CheckFailed,
        exit => exit,
    }
}

/// A node that is certain to fail counts for more than expectations.
fn exit(plan: &Plan) -> Exit {
    let failed = |node: &&PlannedNode| matches!(node.overall(), Decision::Fail(_));
    if plan.nodes.iter().filter(failed).any(|node| !node.is_unmet()) {
        Exit::Failed
    } else if plan.nodes.iter().any(|node| failed(&node)) {
        Exit::ExpectationFailed
    } else {
        Exit::Success
    }
}

fn planned(ready: &Ready, selection: Selection) -> Result<Plan, Exit> {
    let options = RunOptions {
        selection,
        ..RunOptions::default()
    };
    let planned = crate::run::plan(Arc::clone(&ready.graph), ready.store.clone(), options);
    ready.runtime.block_on(planned).map_err(|error| {
        eprintln!("error: {error}");
        Exit::Failed
    })
}

fn action(decision: &Decision) -> &'static str {
    match decision {
        Decision::Reuse { .. } => "reuse",
        Decision::Fuse => "fuse",
        Decision::Run(_) | Decision::Pending(_) => "run",
        Decision::Skip(_) => "skip",
        Decision::Fail(_) => "fail",
    }
}

/// What is expected of which node, and whether it holds as far as that is known without a run.
fn expectations(plan: &Plan, graph: &TypedGraph) -> String {
    let mut rows = Vec::new();
    for node in &plan.nodes {
        for (place, expectation) in graph[node.id].expectations.iter().enumerate() {
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
