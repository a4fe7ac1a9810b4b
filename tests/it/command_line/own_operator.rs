//! A program with an operator of its own, as `examples/own_operator` shows it.

use crate::fixture::workspace::{Workspace, stderr, stdout};

const PIPELINE: &str = include_str!("../../../examples/own_operator/pipeline.yaml");

fn workspace(pipeline: &str) -> Workspace {
    let workspace = Workspace::new();
    let folder = workspace.path().join("examples/own_operator");
    std::fs::create_dir_all(folder).expect("the test's folder can be written");
    let songs = include_str!("../../../examples/own_operator/songs.csv");
    workspace.write("examples/own_operator/songs.csv", songs);
    workspace.write("pipeline.yaml", pipeline);
    workspace
}

#[test]
fn an_operator_of_ones_own_runs_and_is_reused_like_any_other() {
    let workspace = workspace(PIPELINE);
    let run = workspace.example("own_operator", &["run", "pipeline.yaml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let shown = workspace.example("own_operator", &["show", "pipeline.yaml", "plays"]);
    let shown = stdout(&shown);
    assert!(shown.contains("nina simone") && shown.contains('8'), "{shown}");
    assert!(!shown.contains("Nina"), "{shown}");
    let check = workspace.example("own_operator", &["plan", "pipeline.yaml", "--check"]);
    assert!(check.status.success(), "{}", stdout(&check));
}

#[test]
fn its_mistakes_are_found_before_anything_runs() {
    let workspace = workspace(&PIPELINE.replace("columns: [artist]", "columns: [artst]"));
    let validate = workspace.example("own_operator", &["validate", "pipeline.yaml"]);
    let told = stderr(&validate);
    assert_eq!(validate.status.code(), Some(2), "{told}");
    assert!(told.contains("artst") && told.contains("`artist`"), "{told}");
    assert!(told.contains("pipeline.yaml:4:"), "{told}");
}

#[test]
fn it_is_documented_and_described_to_editors() {
    let workspace = Workspace::new();
    let documented = stdout(&workspace.example("own_operator", &["ops", "TidyText"]));
    assert!(documented.contains("The columns to tidy"), "{documented}");
    assert!(stdout(&workspace.example("own_operator", &["schema"])).contains("TidyText"));
    assert!(!stdout(&workspace.towline(&["schema"])).contains("TidyText"));
}
