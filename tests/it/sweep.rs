//! `sweep:`: a search over parameters, run and rerun.

use std::collections::BTreeMap;

use towline::run::{NodeStatus, RunRecord};

use crate::workspace::{Workspace, stderr, stdout};

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
      over: { factors: [2, 4], regularization: [0.1, 5.0] }
      metric: ndcg_at_10
      judge: { op: Evaluate, inputs: { model: model, data: features }, with: { k: [10], bootstrap: 0 } }
    expect: models = 4
  top: { op: TopKEncode, inputs: { model: model, queries: features }, with: { k: 3 } }
";

const MODEL: &str = "op: Als
    input: features
    with: { iterations: 3, seed: 1 }
    sweep:
      over: { factors: [2, 4], regularization: [0.1, 5.0] }";

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
    let judged: Vec<f64> = (0..4)
        .map(|trial| node(&first, &format!("model.{}:Evaluate", 2 * trial + 2)).metrics["ndcg_at_10"])
        .collect();
    let most = judged.iter().copied().fold(f64::MIN, f64::max);
    assert!(
        judged.iter().any(|value| *value < most),
        "the trials differ: {judged:?}"
    );
    assert_eq!(judged[place - 1].to_bits(), most.to_bits());
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
            "there is no metric `ndcg_at_20` of every model",
        ),
        ("factors: [2, 4]", "factor: [2, 4]", "`factor`"),
        (
            "judge: { op: Evaluate, inputs: { model: model, data: features }, with: { k: [10], bootstrap: 0 } }",
            "goal: max",
            "give the sweep a `judge`",
        ),
        (
            MODEL,
            "op: Clip\n    input: features\n    with: { max: 9 }\n    sweep:\n      over: { min: [1, 2] }",
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
