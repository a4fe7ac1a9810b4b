//! A pipeline run through the library, with operators of the test's own.

use std::path::Path;

use towline::run::{NodeRecord, NodeStatus, RunRecord};
use towline::{Decision, Engine, RunOptions};
use towline_api::Registry;

use crate::fixture::workspace::{Workspace, stderr, stdout};

/// Options for a run that nobody observes.
pub(crate) fn options() -> RunOptions {
    RunOptions {
        jobs: 2,
        threads: 1,
        ..RunOptions::default()
    }
}

/// Runs a pipeline of these nodes on the store in `folder`.
pub(crate) fn run(registry: &Registry, nodes: &str, folder: &Path, options: RunOptions) -> RunRecord {
    let text = format!("version: 1\nname: test\nnodes:\n{nodes}");
    let pipeline = Engine::from(registry.clone())
        .open_text("p.yaml", &text, &[])
        .expect("variables");
    let run = pipeline.store(folder).run(options).expect("a valid pipeline");
    run.record().clone()
}

/// The record of a node.
pub(crate) fn node<'a>(record: &'a RunRecord, name: &str) -> &'a NodeRecord {
    let found = record.nodes.iter().find(|node| node.name == name);
    found.unwrap_or_else(|| panic!("there is no node {name}"))
}

const PIPELINE: &str = "\
version: 1
vars: { rows: 200 }
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: \"${vars.rows}\" } }
  clicks: { op: Filter, input: rows, with: { where: click = 1 } }
  few: { op: Filter, input: clicks, with: { where: user_id < 50 } }
";

#[test]
fn a_program_plans_runs_and_reads_what_a_pipeline_produced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = |variables: &[&str]| {
        let opened = Engine::new().open_text("p.yaml", PIPELINE, variables);
        opened.expect("variables").store(folder.path().join("store"))
    };
    let pipeline = open(&[]);
    assert!(pipeline.validate().is_empty(), "{}", pipeline.report());
    let options = options();
    let plan = pipeline.plan(options.clone()).expect("a plan");
    assert!(plan.would_run().len() > 1);
    let events = options.events.receiver();
    let run = pipeline.run(options.clone()).expect("a run");
    assert!(run.succeeded());
    assert!(events.try_iter().count() > 3);
    let counted = |run: &towline::Run, node: &str| {
        let splits = run.dataset(node).expect("rows");
        splits
            .iter()
            .flat_map(|(_, batches)| batches)
            .map(towline::arrow::array::RecordBatch::num_rows)
            .sum::<usize>()
    };
    assert_eq!(counted(&run, "rows"), 200);
    let (clicks, few) = (counted(&run, "clicks"), counted(&run, "few"));
    assert!(clicks < 200 && few <= clicks, "{clicks} {few}");
    let plan = pipeline.plan(options.clone()).expect("a plan");
    assert!(plan.would_run().is_empty(), "what has run is reused");
    let more = open(&["vars.rows=300"]).run(options).expect("a run");
    assert_eq!(counted(&more, "rows"), 300);
    let unknown = more.dataset("clickz").expect_err("there is none").to_string();
    assert!(unknown.contains("did you mean `clicks`?"), "{unknown}");
}

#[test]
fn a_run_carries_out_what_the_plan_decided() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = |text: &str| {
        let opened = Engine::new().open_text("p.yaml", text, &[]);
        opened.expect("variables").store(folder.path().join("store"))
    };
    open(PIPELINE).run(options()).expect("a run");
    let changed = PIPELINE.replace("user_id < 50", "user_id < 40");
    let pipeline = open(&changed);
    let plan = pipeline.plan(options()).expect("a plan");
    let run = pipeline.run(options()).expect("a run");
    let mut decided = Vec::new();
    for (planned, ended) in plan.nodes.iter().zip(&run.record().nodes) {
        let status = match planned.overall() {
            Decision::Reuse { .. } => NodeStatus::Reused,
            Decision::Fuse => NodeStatus::Fused,
            Decision::Run(_) => NodeStatus::Ran,
            other => panic!("{}: {other:?}", planned.name),
        };
        assert_eq!(
            (status, &planned.why()),
            (ended.status, &ended.reason),
            "{}",
            planned.name
        );
        decided.push(status);
    }
    assert!(decided.contains(&NodeStatus::Ran), "{decided:?}");
}

#[test]
fn a_pipeline_with_errors_is_opened_but_neither_planned_nor_run() {
    let wrong = PIPELINE.replace("click = 1", "clik = 1");
    let pipeline = Engine::new().open_text("p.yaml", &wrong, &[]).expect("variables");
    assert_eq!(pipeline.validate().len(), 1);
    let error = pipeline.run(options()).err().expect("it is not valid").to_string();
    assert!(error.contains("p.yaml:5:") && error.contains("`click`"), "{error}");
    assert!(Engine::new().open_text("p.yaml", PIPELINE, &["vars.rows"]).is_err());
}

#[test]
fn the_example_runs_a_pipeline_and_prints_its_lists() {
    let workspace = Workspace::new();
    let folder = workspace.path().join("examples/embed");
    std::fs::create_dir_all(folder).expect("the test's folder can be written");
    let pipeline = include_str!("../../../examples/embed/pipeline.yaml");
    workspace.write("examples/embed/pipeline.yaml", pipeline);
    let output = workspace.example("embed", &["vars.rows=2000", "vars.epochs=1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stdout(&output);
    assert!(told.contains("nodes would run") && told.contains("recall@10"), "{told}");
    assert!(told.contains("recommendations"), "{told}");
}
