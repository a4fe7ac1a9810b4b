//! `sweep:`: a search over parameters, run and rerun.

use std::collections::BTreeMap;

use towline::run::{NodeStatus, RunRecord};

use crate::fixture::workspace::{Workspace, stderr, stdout};

const PIPELINE: &str = r"
version: 1
name: sweep
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: 4000, seed: 3 } }
  clicks: { op: Filter, input: rows, with: { where: click = 1 } }
  user: clicks[user_id] >> Categorify >> TagAsUserID
  item: clicks[item_id] >> Categorify >> TagAsItemID
  features: user + item
  model:
    op: Als
    input: features
    with: { iterations: 3, seed: 1 }
    sweep:
      parameters: { factors: [2, 4], regularization: [0.1, 5.0] }
      metric: ndcg_at_10
      evaluate: { op: Evaluate, inputs: { model: model, data: features }, with: { k: [10], bootstrap: 0 } }
    expect: models = 4
  top: { op: TopKEncode, inputs: { model: model, queries: features }, with: { k: 3 } }
";

const MODEL: &str = "op: Als
    input: features
    with: { iterations: 3, seed: 1 }
    sweep:
      parameters: { factors: [2, 4], regularization: [0.1, 5.0] }";

fn status_of(record: &RunRecord) -> BTreeMap<&str, NodeStatus> {
    record
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.status))
        .collect()
}

#[test]
fn the_best_trial_is_handed_on_and_another_value_runs_only_its_trials() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    let run = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let first = workspace.records().pop().expect("a run");
    let node = |record: &RunRecord, name: &str| {
        record
            .nodes
            .iter()
            .find(|node| node.name == name)
            .cloned()
            .expect("it is there")
    };
    let best = node(&first, "model");
    let place = best.metrics["best"] as usize;
    let trials: Vec<String> = (0..4).map(|trial| format!("model.{}:Als", 2 * trial + 1)).collect();
    let evaluated: Vec<f64> = (0..4)
        .map(|trial| node(&first, &format!("model.{}:Evaluate", 2 * trial + 2)).metrics["ndcg_at_10"])
        .collect();
    let most = evaluated.iter().copied().fold(f64::MIN, f64::max);
    assert!(
        evaluated.iter().any(|value| *value < most),
        "the trials differ: {evaluated:?}"
    );
    assert_eq!(evaluated[place - 1].to_bits(), most.to_bits());
    assert_eq!(best.metrics["ndcg_at_10"].to_bits(), most.to_bits());
    assert_eq!(
        best.output,
        node(&first, &trials[place - 1]).output,
        "it is the model of that trial"
    );

    let shown = stdout(&workspace.towline(&["show", "p.yaml", "model"]));
    assert!(shown.contains("factors") && shown.contains("regularization"), "{shown}");
    assert!(shown.contains(&format!("{} (best)", trials[place - 1])), "{shown}");

    workspace.write(
        "p.yaml",
        &PIPELINE
            .replace("[0.1, 5.0]", "[0.1, 5.0, 20.0]")
            .replace("models = 4", "models = 6"),
    );
    let run = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let second = workspace.records().pop().expect("a run");
    let ran: Vec<&str> = status_of(&second)
        .into_iter()
        .filter(|(_, status)| *status == NodeStatus::Ran)
        .map(|(name, _)| name)
        .collect();
    let models: Vec<&&str> = ran.iter().filter(|name| name.ends_with(":Als")).collect();
    assert_eq!(
        models,
        [&"model.11:Als", &"model.5:Als"],
        "the two that are new: {ran:?}"
    );
}

#[test]
fn a_slip_in_a_sweep_is_found_without_a_run() {
    let workspace = Workspace::new();
    for (written, wrong, expected) in [
        (
            "metric: ndcg_at_10",
            "metric: ndcg_at_20",
            "not every model has a metric `ndcg_at_20`",
        ),
        ("factors: [2, 4]", "factor: [2, 4]", "`factor`"),
        (
            "evaluate: { op: Evaluate, inputs: { model: model, data: features }, with: { k: [10], bootstrap: 0 } }",
            "direction: max",
            "give the sweep an `evaluate`",
        ),
        (
            MODEL,
            "op: Clip\n    input: features\n    with: { max: 9 }\n    sweep:\n      parameters: { min: [1, 2] }",
            "takes a model, not a dataset",
        ),
    ] {
        workspace.write("p.yaml", &PIPELINE.replace(written, wrong));
        let output = workspace.towline(&["validate", "p.yaml"]);
        let told = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

/// A learning rate of 1e30 leads to numbers that are none.
const DIVERGING: &str = r"
version: 1
name: diverging
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: 4000, seed: 3, splits: { train: 0.8, valid: 0.2 } } }
  clicks: { op: Filter, input: rows, with: { where: click = 1 } }
  user: clicks[user_id] >> Categorify >> TagAsUserID
  item: clicks[item_id] >> Categorify >> TagAsItemID
  features: user + item
  model:
    op: TwoTowerTrain
    input: features
    with: { layers: [8], epochs: 1, batch_size: 256, seed: 1, optimizer: sgd, normalize: none }
    sweep:
      parameters: { learning_rate: [1.0e+30, 0.01] }
      metric: ndcg_at_10
      evaluate: { op: Evaluate, inputs: { model: model, data: features.valid }, with: { k: [10], bootstrap: 0 } }
  top: { op: TopKEncode, inputs: { model: model, queries: features.valid }, with: { k: 3 } }
";

fn reason_of<'a>(record: &'a RunRecord, name: &str) -> &'a str {
    let node = record.nodes.iter().find(|node| node.name == name);
    node.map_or("", |node| &node.reason)
}

#[test]
fn a_trial_that_diverges_is_shown_and_the_best_of_the_others_is_handed_on() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", DIVERGING);
    let run = workspace.towline(&["run", "p.yaml"]);
    let told = stdout(&run) + &stderr(&run);
    assert_eq!(run.status.code(), Some(1), "a node failed: {told}");
    let first = workspace.records().pop().expect("a run");
    let status = status_of(&first);
    assert_eq!(status["model.1:TwoTowerTrain"], NodeStatus::Failed, "{told}");
    assert_eq!(status["model.2:Evaluate"], NodeStatus::Skipped, "{told}");
    for name in ["model.3:TwoTowerTrain", "model.4:Evaluate", "model", "top"] {
        assert_eq!(status[name], NodeStatus::Ran, "{name}: {told}");
    }
    assert!(told.contains("1 of 2 models failed"), "{told}");
    let model = first
        .nodes
        .iter()
        .find(|node| node.name == "model")
        .expect("it is there");
    let counted = ["models", "failed", "best"].map(|name| model.metrics[name] as usize);
    assert_eq!(counted, [1, 1, 2]);

    let shown = stdout(&workspace.towline(&["show", "p.yaml", "model"]));
    let line = |start: &str| shown.lines().find(|line| line.trim_start().starts_with(start));
    assert!(line("model.3:TwoTowerTrain (best)").is_some(), "{shown}");
    let failed = line("model.1:TwoTowerTrain").expect("what failed is in the table");
    let reason = reason_of(&first, "model.1:TwoTowerTrain");
    assert!(
        failed.contains("failed") && failed.contains(reason),
        "{reason}: {shown}"
    );

    let run = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(run.status.code(), Some(1), "a failure is not kept: {}", stderr(&run));
    let second = workspace.records().pop().expect("a run");
    let status = status_of(&second);
    assert_eq!(status["model.1:TwoTowerTrain"], NodeStatus::Failed);
    assert_eq!(reason_of(&second, "model.1:TwoTowerTrain"), reason);
    for name in ["model.3:TwoTowerTrain", "model.4:Evaluate", "model", "top"] {
        assert_eq!(status[name], NodeStatus::Reused, "{name}: {}", stderr(&run));
    }
    let plan = stdout(&workspace.towline(&["plan", "p.yaml"]));
    assert!(
        plan.contains("`model.2:Evaluate` would run") || plan.contains("`model.1:TwoTowerTrain` would run"),
        "{plan}"
    );
}

#[test]
fn a_sweep_fails_if_every_trial_has_and_whoever_wants_all_of_them_says_so() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", &DIVERGING.replace("0.01]", "1.0e+29]"));
    let run = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    let record = workspace.records().pop().expect("a run");
    let status = status_of(&record);
    assert_eq!(status["model.3:TwoTowerTrain"], NodeStatus::Failed);
    assert_eq!(
        (status["model"], status["top"]),
        (NodeStatus::Skipped, NodeStatus::Skipped)
    );
    let reason = reason_of(&record, "model");
    assert!(
        reason.contains("nothing of what is connected to `models` finished"),
        "{reason}"
    );

    let strict = DIVERGING.replace("    sweep:", "    expect: failed = 0\n    sweep:");
    workspace.write("p.yaml", &strict);
    let run = workspace.towline(&["run", "p.yaml"]);
    let record = workspace.records().pop().expect("a run");
    let status = status_of(&record);
    assert_eq!(
        (status["model"], status["top"]),
        (NodeStatus::Failed, NodeStatus::Skipped)
    );
    assert!(stdout(&run).contains("failed = 0"), "{}", stdout(&run));
}

#[test]
fn a_trial_that_somebody_leaves_out_has_not_failed() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    let run = workspace.towline(&["run", "p.yaml", "--exclude", "model.3:Als"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let record = workspace.records().pop().expect("a run");
    assert_eq!(status_of(&record)["model"], NodeStatus::Skipped);
}
