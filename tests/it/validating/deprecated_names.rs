//! Deprecated names of keys and parameters: accepted, reported once where they are written, with unchanged fingerprints.

use crate::fixture::workspace::{Workspace, stderr, stdout};

/// A sweep whose keys are left to the test, and a node that names a renamed parameter itself.
fn pipeline(over: &str, judge: &str, sweep_goal: &str, goal: &str) -> String {
    format!(
        "version: 1
name: names
nodes:
  rows: {{ op: SyntheticAliCcp, with: {{ rows: 2000, seed: 3 }} }}
  clicks: {{ op: Filter, input: rows, with: {{ where: click = 1 }} }}
  user: clicks[user_id] >> Categorify >> TagAsUserID
  item: clicks[item_id] >> Categorify >> TagAsItemID
  features: user + item
  model:
    op: Als
    input: features
    with: {{ iterations: 2, seed: 1 }}
    sweep:
      {over}: {{ factors: [2, 4] }}
      metric: ndcg_at_10
      {sweep_goal}: max
      {judge}: {{ op: Evaluate, inputs: {{ model: model, data: features }}, with: {{ k: [10], bootstrap: 0 }} }}
  best:
    op: BestModel
    inputs: {{ models: model, evaluations: quality }}
    with: {{ metric: ndcg_at_10, {goal}: max }}
  quality: {{ op: Evaluate, inputs: {{ model: model, data: features }}, with: {{ k: [10], bootstrap: 0 }} }}
"
    )
}

#[test]
fn deprecated_names_are_reported_where_they_are_written_and_change_no_fingerprint() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", &pipeline("parameters", "evaluate", "direction", "direction"));
    let run = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    assert!(!stderr(&run).contains("deprecated"), "{}", stderr(&run));

    workspace.write("p.yaml", &pipeline("over", "judge", "goal", "goal"));
    let report = stderr(&workspace.towline(&["validate", "p.yaml"]));
    let warnings: Vec<&str> = report
        .lines()
        .filter(|line| line.starts_with("warning[deprecated-name]"))
        .collect();
    assert_eq!(
        warnings,
        [
            "warning[deprecated-name] p.yaml:14:7: `over` is deprecated: its name is now `parameters`",
            "warning[deprecated-name] p.yaml:16:7: `goal` is deprecated: its name is now `direction`",
            "warning[deprecated-name] p.yaml:17:7: `judge` is deprecated: its name is now `evaluate`",
            "warning[deprecated-name] p.yaml:21:33: `goal` is deprecated: its name is now `direction`",
        ],
        "{report}"
    );
    assert!(report.contains("replace `judge` with `evaluate`"), "{report}");
    let plan = workspace.towline(&["plan", "p.yaml", "--check"]);
    assert_eq!(plan.status.code(), Some(0), "{}", stdout(&plan));
}

#[test]
fn a_default_under_a_deprecated_name_is_reported_once_and_gives_way_to_the_node() {
    let workspace = Workspace::new();
    let text = pipeline("parameters", "evaluate", "direction", "direction")
        .replace("nodes:\n", "defaults: { BestModel: { goal: min } }\nnodes:\n")
        + "  other: { op: BestModel, inputs: { models: model, evaluations: quality }, with: { metric: ndcg_at_10 } }\n";
    workspace.write("p.yaml", &text);
    let output = workspace.towline(&["validate", "p.yaml"]);
    let report = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(
        report.matches("warning[deprecated-name] p.yaml:3:").count(),
        1,
        "{report}"
    );
}

#[test]
fn a_key_under_both_names_is_an_error() {
    let workspace = Workspace::new();
    for (text, place) in [
        (
            pipeline("parameters", "evaluate", "direction", "goal: min, direction"),
            "p.yaml:21:33",
        ),
        (
            pipeline("parameters", "evaluate", "goal: min\n      direction", "direction"),
            "p.yaml:16:7",
        ),
    ] {
        workspace.write("p.yaml", &text);
        let output = workspace.towline(&["validate", "p.yaml"]);
        let report = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{report}");
        assert!(report.contains(&format!("error[conflict] {place}")), "{report}");
        assert!(
            report.contains("`goal` is the deprecated name of `direction`"),
            "{report}"
        );
    }
}
