//! Expectations in a run: what does not hold stops what depends on it.

use crate::fixture::workspace::{Workspace, stderr, stdout};

const ROWS: &str = "rows: { op: SyntheticAliCcp, with: { rows: 1000, splits: { train: 0.7, valid: 0.3 } }";

/// A workspace with a pipeline whose rows are published, and these expectations of them.
fn published_rows(expect: &str) -> Workspace {
    let workspace = Workspace::new();
    write(&workspace, expect);
    workspace
}

fn write(workspace: &Workspace, expect: &str) {
    let text = format!(
        "version: 1\nnodes:\n  {ROWS}, expect: {expect} }}\n  out: {{ op: ParquetExport, input: rows, with: {{ path: out }} }}\n  after: {{ op: ParquetExport, input: other, after: [rows], with: {{ path: after }} }}\n  other: {{ op: SyntheticAliCcp, with: {{ rows: 10 }} }}\n"
    );
    workspace.write("p.yaml", &text);
}

/// The lines of a summary from the first one about a failure, without times and memory.
fn failure(text: &str) -> String {
    let start = text.find("\nrows (SyntheticAliCcp) failed").expect("a node failed");
    let end = text.rfind(" in ").expect("a summary");
    text[start + 1..end].to_owned()
}

#[test]
fn what_does_not_hold_stops_what_depends_on_it() {
    let workspace = published_rows("[rows == 1000, train.rows > 700 and null_share(user_id) < 0.1, user_id is unique]");
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(4), "{}{}", stdout(&output), stderr(&output));
    insta::assert_snapshot!(failure(&stdout(&output)));
    assert!(stderr(&output).contains("FAILED  rows: 2 of 3 expectations do not hold"));
    assert!(!workspace.path().join("out").exists());
    assert!(!workspace.path().join("after").exists());

    // What failed its expectations is no better when it comes out of the store.
    let again = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(again.status.code(), Some(4), "{}", stdout(&again));
    assert!(stdout(&again).contains(" 0 ran, "), "{}", stdout(&again));
    assert!(!workspace.path().join("out").exists());
    let plan = workspace.towline(&["plan", "p.yaml"]);
    assert_eq!(plan.status.code(), Some(4), "{}", stdout(&plan));
    assert!(stdout(&plan).contains("does not hold"), "{}", stdout(&plan));
}

#[test]
fn a_plan_says_what_will_be_checked_and_another_threshold_needs_no_run() {
    let workspace = published_rows("[rows > 10, max(user_id) > 1]");
    let plan = workspace.towline(&["plan", "p.yaml"]);
    let text = stdout(&plan);
    let start = text.find("node  expectation").expect("the plan shows expectations");
    insta::assert_snapshot!(&text[start..]);
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(
        stdout(&output).contains("2 of 2 expectations hold"),
        "{}",
        stdout(&output)
    );

    write(&workspace, "[rows > 20, max(user_id) > 2]");
    let plan = workspace.towline(&["plan", "p.yaml", "--check"]);
    assert_eq!(plan.status.code(), Some(0), "{}", stdout(&plan));
    assert!(stdout(&plan).contains("max(user_id) > 2  holds"), "{}", stdout(&plan));

    write(&workspace, "[rows > 20, min(user_id) > 0]");
    let plan = workspace.towline(&["plan", "p.yaml", "--check"]);
    assert_eq!(plan.status.code(), Some(3), "{}", stdout(&plan));
    assert!(stdout(&plan).contains("\n1 of 4 nodes would run"), "{}", stdout(&plan));
}

#[test]
fn the_record_keeps_each_expectation_with_its_values() {
    let workspace = published_rows("[rows > 2 * 1000]");
    assert_eq!(workspace.towline(&["run", "p.yaml"]).status.code(), Some(4));
    let records = workspace.texts_below(".towline/runs");
    let record: serde_json::Value = serde_json::from_str(&records[0]).expect("the record is JSON");
    assert_eq!(
        record["nodes"][0]["expectations"],
        serde_json::json!([{
            "expression": "rows > 2 * 1000",
            "location": "p.yaml:3:99",
            "outcome": {
                "met": false,
                "parts": [{ "text": "rows", "value": "1000" }, { "text": "2 * 1000", "value": "2000" }],
            },
        }])
    );
}

#[test]
fn a_node_that_fails_counts_for_more_than_an_expectation() {
    let workspace = Workspace::new();
    workspace.write("blocked", "a file where a folder should be");
    workspace.write(
        "p.yaml",
        &format!("version: 1\nnodes:\n  {ROWS}, expect: [rows == 0] }}\n  other: {{ op: SyntheticAliCcp, with: {{ rows: 10 }} }}\n  bad: {{ op: ParquetExport, input: other, with: {{ path: blocked/out }} }}\n"),
    );
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("2 failed"), "{}", stdout(&output));
}

#[test]
fn every_form_of_node_can_have_expectations() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        &format!(
            "version: 1\nnodes:\n  {ROWS} }}\n  few: {{ op: Filter, input: rows, with: {{ where: click = 1 }}, expect: [rows < 1000, mean(click) == 1] }}\n  fewer: {{ op: Filter, input: few, with: {{ where: user_id < 5 }}, expect: max(user_id) < 5 }}\n  user: {{ op: Categorify, input: 'fewer[user_id]', expect: [user_id is not null, min(user_id) >= 3] }}\n  all: {{ op: Concat, inputs: ['fewer[item_id]', user], expect: ['distinct(item_id) > 1'] }}\n  out: {{ op: ParquetExport, input: all, with: {{ path: out }}, expect: [records > 0] }}\n"
        ),
    );
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(
        stdout(&output).contains("7 of 7 expectations hold"),
        "{}",
        stdout(&output)
    );
    let again = workspace.towline(&["run", "p.yaml"]);
    assert!(stdout(&again).contains(" 0 ran, "), "{}", stdout(&again));
    assert!(
        stdout(&again).contains("7 of 7 expectations hold"),
        "{}",
        stdout(&again)
    );
}

#[test]
fn mistakes_are_reported_at_their_places_in_the_file() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1
vars: { least: 5 }
nodes:
  rows:
    op: SyntheticAliCcp
    with: { rows: 1000 }
    expect:
      - rows > 0 &&
      - \"max(user_idd) > 0\"
      - >-
        rows > 0 and
        folded > 1
      - tran.rows > ${vars.least}
      - 5
      - rows
  model: { op: Evaluate, inputs: { model: nothing, data: rows }, expect: { a: b } }
  chained: rows[user_id] >> Categorify
",
    );
    let output = workspace.towline(&["validate", "p.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output));
}

#[test]
fn a_metric_that_is_not_produced_is_a_static_error() {
    let workspace = Workspace::new();
    let seed = include_str!("../../../pipelines/offline_batch_recsys.yaml");
    let slip = seed.replace("\"recall_at_10 >=", "\"recal_at_10 >=");
    assert_ne!(seed, slip);
    workspace.write("p.yaml", &slip);
    let output = workspace.towline(&["validate", "p.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("error[unknown-metric] p.yaml:"), "{text}");
    assert!(
        text.contains("the node `quality` has no metric `recal_at_10`"),
        "{text}"
    );
    assert!(text.contains("help: did you mean `recall_at_10`?"), "{text}");
}

#[test]
fn operators_leave_behind_the_metrics_that_they_declare() {
    let workspace = Workspace::new();
    let seed = include_str!("../../../pipelines/offline_batch_recsys.yaml");
    // So few rows teach the model nothing that could be expected of it.
    let text = seed.replace("    expect: [", "    expect: [] #");
    assert_ne!(seed, text);
    workspace.write("p.yaml", &text);
    let small = ["run", "p.yaml", "--set", "vars.rows=3000"];
    let output = workspace.towline(&small);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let records = workspace.texts_below(".towline/runs");
    let record: serde_json::Value = serde_json::from_str(&records[0]).expect("the record is JSON");

    let pipeline = towline::Engine::new()
        .open_text("p.yaml", seed, &[])
        .expect("variables");
    let graph = pipeline.graph().expect("the pipeline is valid");
    let mut with_metrics = 0;
    for (index, id) in graph.ids().enumerate() {
        let node = &graph[id];
        let declared = node.built.operator.metrics(&node.output);
        let left = record["nodes"][index]["metrics"].as_object().expect("metrics");
        let (mut left, mut declared): (Vec<&String>, Vec<&String>) = (left.keys().collect(), declared.iter().collect());
        left.sort();
        declared.sort();
        assert_eq!(left, declared, "{}", node.descriptor.name);
        with_metrics += usize::from(!left.is_empty());
    }
    assert!(with_metrics >= 4, "{with_metrics}");
}
