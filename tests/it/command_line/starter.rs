//! `towline init`.

use crate::fixture::workspace::{Workspace, stderr, stdout};

#[test]
fn the_starter_runs_as_it_stands_and_learns_something() {
    let workspace = Workspace::new();
    let output = workspace.towline(&["init"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = workspace.towline(&["run", "pipeline.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let text = stdout(&output);
    let recall = |name: &str| -> f64 {
        let value = |line: &str| {
            line.trim_start()
                .strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        };
        text.lines()
            .find_map(value)
            .unwrap_or_else(|| panic!("no line {name} in {text}"))
    };
    assert!(recall("model") > 2.0 * recall("popularity"), "{text}");
    let show = workspace.towline(&["show", "pipeline.yaml", "named"]);
    assert!(
        stdout(&show).contains("name") && stdout(&show).contains("1001"),
        "{}",
        stdout(&show)
    );
}

#[test]
fn nothing_that_is_there_is_replaced() {
    let workspace = Workspace::new();
    workspace.write(".gitignore", "mine\n");
    let output = workspace.towline(&["init"]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stderr(&output).contains(".gitignore"), "{}", stderr(&output));
    assert!(!workspace.path().join("pipeline.yaml").exists());
    assert_eq!(
        std::fs::read_to_string(workspace.path().join(".gitignore")).expect("it is there"),
        "mine\n"
    );
    let output = workspace.towline(&["init", "new/folder"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(workspace.path().join("new/folder/data/purchases.csv").is_file());
}
