//! `towline recommend`: what the last run recommends to a user.

use crate::fixture::workspace::{Workspace, stderr, stdout};

const PIPELINE: &str = "\
version: 1
nodes:
  rows: { op: CsvSource, with: { path: rows.csv } }
  films: { op: CsvSource, with: { path: films.csv } }
  user: rows[user] >> Categorify >> TagAsUserID
  item: rows[film] >> Categorify >> TagAsItemID
  features: user + item
  model: { op: Popularity, input: features }
  lists: { op: TopKEncode, inputs: { model: model, queries: features, items: films }, with: { k: 3, exclude: \"title = 'Cube'\" } }
  publish: { op: ParquetExport, input: lists, with: { path: out } }
";

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    workspace.write(
        "rows.csv",
        "user,film\nanna,10\nanna,11\nbert,10\nbert,12\ncora,11\ncora,10\ncora,13\n",
    );
    workspace.write("films.csv", "film,title\n10,Heat\n11,Clue\n12,Big\n13,Cube\n");
    workspace
}

#[test]
fn a_user_gets_the_items_of_the_last_run_with_their_titles() {
    let workspace = workspace();
    let early = workspace.towline(&["recommend", "p.yaml", "--user", "bert"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(stderr(&early).contains("`lists` was not run yet"), "{}", stderr(&early));

    let run = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(run.status.code(), Some(0), "{}{}", stdout(&run), stderr(&run));
    let answer = workspace.towline(&["recommend", "p.yaml", "--user", "bert", "--k", "2"]);
    assert_eq!(answer.status.code(), Some(0), "{}", stderr(&answer));
    let lines: Vec<Vec<String>> = stdout(&answer)
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    assert_eq!(lines[0].join(" "), "user bert, by `lists`");
    assert_eq!(lines[1].join(" "), "item title score");
    assert_eq!(lines[2].join(" "), "1 10 Heat 3.0");
    assert_eq!(lines[3].join(" "), "2 11 Clue 2.0");
    assert_eq!(lines.len(), 4);
}

#[test]
fn who_is_not_known_and_which_node_is_not_clear_are_told() {
    let workspace = workspace();
    assert_eq!(workspace.towline(&["run", "p.yaml"]).status.code(), Some(0));
    let unknown = workspace.towline(&["recommend", "p.yaml", "--user", "dora"]);
    assert_eq!(unknown.status.code(), Some(1));
    let told = stderr(&unknown);
    assert!(
        told.contains("no list for the user `dora`") && told.contains("3 users"),
        "{told}"
    );
    let node = workspace.towline(&["recommend", "p.yaml", "--user", "anna", "--node", "list"]);
    assert_eq!(node.status.code(), Some(2));
    assert!(stderr(&node).contains("lists"), "{}", stderr(&node));
}

#[test]
fn the_last_run_answers_when_its_sources_are_gone() {
    let workspace = workspace();
    assert_eq!(workspace.towline(&["run", "p.yaml"]).status.code(), Some(0));
    let ask = || workspace.towline(&["recommend", "p.yaml", "--user", "bert", "--k", "2"]);
    std::fs::remove_file(workspace.path().join("rows.csv")).unwrap();
    let answer = ask();
    assert_eq!(answer.status.code(), Some(0), "{}", stderr(&answer));
    let told = stderr(&answer);
    assert!(
        told.contains("rows.csv") && told.contains("the results of the last run"),
        "{told}"
    );
    let lines = |text: String| -> Vec<String> {
        let join = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(join).collect()
    };
    let wanted = [
        "user bert, by `lists`",
        "item title score",
        "1 10 Heat 3.0",
        "2 11 Clue 2.0",
    ];
    assert_eq!(lines(stdout(&answer)), wanted);

    std::fs::remove_file(workspace.path().join("films.csv")).unwrap();
    let answer = ask();
    assert_eq!(answer.status.code(), Some(0), "{}", stderr(&answer));
    assert_eq!(lines(stdout(&answer)), wanted, "the run has stored the titles as well");
    let unknown = workspace.towline(&["recommend", "p.yaml", "--user", "dora"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        stderr(&unknown).contains("no list for the user `dora`"),
        "{}",
        stderr(&unknown)
    );

    // Without a run there is nothing to say but what is wrong.
    std::fs::remove_dir_all(workspace.path().join(".towline")).unwrap();
    assert_eq!(ask().status.code(), Some(2));
}
