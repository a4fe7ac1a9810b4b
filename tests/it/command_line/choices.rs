//! Which nodes a run is about.

use std::collections::BTreeMap;

use towline::run::NodeStatus;

use crate::fixture::workspace::{Workspace, stderr, stdout};

const PIPELINE: &str = "\
version: 1
name: choices
vars: { n: 1 }
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: 200 } }
  few: { op: Filter, input: rows, with: { where: \"click = ${vars.n}\" } }
  user: few[user_id] >> Categorify >> TagAsUserID
  few_file: { op: ParquetExport, input: few, with: { path: few } }
  user_file: { op: ParquetExport, input: user, with: { path: user } }
  other: { op: ParquetExport, input: rows, with: { path: other } }
";

/// The nodes that a run with these arguments did not leave out, on an empty store.
fn chosen(arguments: &[&str]) -> Vec<String> {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    let output = workspace.towline(&[&["run", "p.yaml"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let record = workspace.records().pop().expect("a run");
    let nodes = record.nodes.into_iter();
    nodes
        .filter(|node| node.status != NodeStatus::Skipped)
        .map(|node| node.name)
        .collect()
}

#[test]
fn selectors_choose_nodes_and_what_they_need() {
    const ALL: [&str; 7] = [
        "rows",
        "few",
        "user.1:Categorify",
        "user",
        "few_file",
        "user_file",
        "other",
    ];
    let cases: [(&[&str], &[&str]); 11] = [
        (&[], &ALL),
        (&["--select", "few_file"], &["rows", "few", "few_file"]),
        (&["--select", "*_file"], &ALL[..6]),
        (
            &["--select", "few+1", "--exclude", "user*"],
            &["rows", "few", "few_file"],
        ),
        (&["--select", "op:Filter"], &["rows", "few"]),
        (&["--select", "tag:user"], &ALL[..4]),
        (
            &["--from", "user"],
            &["rows", "few", "user.1:Categorify", "user", "user_file"],
        ),
        (&["--until", "user"], &ALL[..4]),
        (&["--from", "few", "--until", "few_file"], &["rows", "few", "few_file"]),
        (&["--exclude", "few"], &["rows", "other"]),
        (
            &["--select", "other", "--select", "few_file"],
            &["rows", "few", "few_file", "other"],
        ),
    ];
    for (arguments, expected) in cases {
        assert_eq!(chosen(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn what_has_changed_can_be_chosen_and_what_has_not_can_be_forced() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    let ran = |arguments: &[&str]| {
        let output = workspace.towline(&[&["run", "p.yaml"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let nodes = workspace.records().pop().expect("a run").nodes;
        let ran = nodes.into_iter().filter(|node| node.status == NodeStatus::Ran);
        ran.map(|node| (node.name, node.reason)).collect::<BTreeMap<_, _>>()
    };
    ran(&[]);
    assert_eq!(ran(&[]), BTreeMap::new());
    let forced = ran(&["--force", "few_file"]);
    assert_eq!(forced, BTreeMap::from([("few_file".to_owned(), "forced".to_owned())]));
    let uncached = ran(&["--no-cache"]);
    assert_eq!(
        uncached.len(),
        7,
        "every node, for each has something stored: {uncached:?}"
    );
    let nothing = ran(&["--select", "state:changed"]);
    assert_eq!(nothing, BTreeMap::new());
    let changed = ran(&[
        "--select",
        "state:changed",
        "--exclude",
        "user_file",
        "--set",
        "vars.n=0",
    ]);
    assert!(
        changed.contains_key("few_file") && !changed.contains_key("user_file"),
        "{changed:?}"
    );
}

#[test]
fn a_selector_that_means_nothing_is_an_error_with_a_hint() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    for (arguments, expected) in [
        (
            ["--select", "few_fil"],
            "`few_fil` means no node: did you mean `few_file`?",
        ),
        (["--select", "op:Filtre"], "did you mean `Filter`?"),
        (["--select", "tag:embedding"], "no column of an output carries this tag"),
        (["--force", "nobody"], "`nobody` means no node"),
        (["--select", "tag:usr"], "`usr` is not a tag"),
        (["--select", "a+b+c+d"], "write it as name, +name, name+ or 1+name+2"),
    ] {
        let output = workspace.towline(&[&["plan", "p.yaml"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_dry_run_is_a_plan() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    let dry = workspace.towline(&["run", "p.yaml", "--dry-run"]);
    assert_eq!(stdout(&dry), stdout(&workspace.towline(&["plan", "p.yaml"])));
    assert!(stdout(&dry).contains("never ran"), "{}", stdout(&dry));
    assert!(!workspace.path().join("few").exists());
    assert!(workspace.records().is_empty());
}

#[test]
fn what_is_always_cached_is_stored_where_it_would_be_a_part_of_a_plan() {
    let workspace = Workspace::new();
    let nodes = PIPELINE.replace("  other: {", "  more: { op: Filter, input: rows, cache: always, with: { where: \"user_id > 0\" } }\n  most: { op: Filter, input: more, with: { where: \"user_id > 1\" } }\n  other: {");
    workspace.write("p.yaml", &nodes);
    let plan = stdout(&workspace.towline(&["plan", "p.yaml"]));
    assert!(plan.contains("stored: `cache: always`"), "{plan}");
    workspace.write("p.yaml", &nodes.replace("cache: always, ", ""));
    let plan = stdout(&workspace.towline(&["plan", "p.yaml"]));
    assert!(plan.contains("fused into most"), "{plan}");
}

#[test]
fn machines_get_an_event_on_each_line() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    let output = workspace.towline(&["run", "p.yaml", "--log-format", "json"]);
    let events: Vec<serde_json::Value> = stderr(&output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let kind = |event: &serde_json::Value| event["event"].as_str().expect("it has a kind").to_owned();
    assert_eq!(kind(&events[0]), "run_started");
    assert_eq!(kind(events.last().expect("there are events")), "run_ended");
    let ended: Vec<&str> = events
        .iter()
        .filter(|event| kind(event) == "node_ended")
        .filter_map(|event| event["node"].as_str())
        .collect();
    assert_eq!(ended.len(), 7, "{ended:?}");
}
