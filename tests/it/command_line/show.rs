//! `towline show`: what a node produced, and in which run.

use crate::fixture::workspace::{Workspace, stderr, stdout};

const PIPELINE: &str = r#"version: 1
vars: { code: 0 }
nodes:
  rows: { op: CsvSource, with: { path: rows.csv } }
  copy: { op: Command, inputs: { rows: rows }, with: { command: [sh, -c, 'cp "$TOWLINE_INPUT"/rows/*.parquet "$TOWLINE_OUTPUT"; exit ${vars.code}'], schema: { x: int64 } } }
  sum:  { op: Sql, inputs: { c: copy }, with: { query: SELECT sum(x) AS total FROM c } }
"#;

#[test]
fn a_result_of_an_earlier_run_is_told_from_one_of_the_last() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", "x\n19\n23\n");
    workspace.write("p.yaml", PIPELINE);
    let run = |code: &str, exit: i32| {
        let output = workspace.towline(&["run", "p.yaml", "--set", &format!("vars.code={code}")]);
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{}{}",
            stdout(&output),
            stderr(&output)
        );
    };
    let show = |node: &str| stdout(&workspace.towline(&["show", "p.yaml", node]));
    run("0", 0);
    for node in ["rows", "copy", "sum"] {
        assert!(!show(node).contains("last run"), "{}", show(node));
    }
    run("3", 1);
    let ids: Vec<String> = workspace.records().into_iter().map(|record| record.id).collect();
    let [first, last] = ids.as_slice() else {
        panic!("{ids:?}");
    };
    assert!(!show("rows").contains("last run"), "it was reused: {}", show("rows"));
    for (node, end) in [
        ("copy", "in which `copy` failed: "),
        ("sum", "in which `sum` was skipped: `copy` did not finish\n"),
    ] {
        let shown = show(node);
        assert!(shown.contains(&format!("not of the last run, {last} of ")), "{shown}");
        assert!(shown.contains(end), "{shown}");
        assert!(
            shown.contains(&format!("what follows is of the run {first} of ")),
            "{shown}"
        );
    }
    assert!(show("sum").contains("42"), "{}", show("sum"));
    run("0", 0);
    assert!(!show("sum").contains("last run"), "{}", show("sum"));
}

#[test]
fn a_node_that_has_never_finished_says_what_stopped_it() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", "x\n19\n");
    workspace.write("p.yaml", PIPELINE);
    let show = |node: &str| stdout(&workspace.towline(&["show", "p.yaml", node]));
    assert!(show("copy").contains("it was not run"), "{}", show("copy"));
    workspace.towline(&["run", "p.yaml", "--set", "vars.code=3"]);
    let (copy, sum) = (show("copy"), show("sum"));
    assert!(copy.contains("nothing of it is stored: in the last run, "), "{copy}");
    assert!(copy.contains(", it failed: "), "{copy}");
    assert!(sum.contains(", it was skipped: `copy` did not finish\n"), "{sum}");
}
