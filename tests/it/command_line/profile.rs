//! The profile of a dataset, which may have nothing to tell.

use towline::run::NodeStatus;

use crate::fixture::workspace::{Workspace, stderr, stdout};

#[test]
fn a_profile_of_columns_without_values_is_shown_and_reused() {
    let workspace = Workspace::new();
    workspace.write("clicks.csv", "user,price\n1,10\n2,\n");
    workspace.write(
        "p.yaml",
        "version: 1
nodes:
  clicks: { op: CsvSource, with: { path: clicks.csv } }
  none:   { op: Filter, input: clicks, with: { where: 'price > 1000' } }
  profile: { op: DataStats, input: none }
",
    );
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let shown = workspace.towline(&["show", "p.yaml", "profile"]);
    assert!(stdout(&shown).contains("train_price_mean: NaN"), "{}", stdout(&shown));
    assert!(stdout(&shown).contains("train: 0 rows"), "{}", stdout(&shown));
    let again = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(again.status.code(), Some(0));
    let records = workspace.records();
    let profile = records[1]
        .nodes
        .iter()
        .find(|node| node.name == "profile")
        .expect("it is in the record");
    assert_eq!(profile.status, NodeStatus::Reused);
    assert!(profile.metrics["train_price_mean"].is_nan());
}
