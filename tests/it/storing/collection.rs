//! `towline cache`: what the store holds, whether it is whole, and what can go.

use std::fs;

use crate::fixture::workspace::{Workspace, stderr, stdout};

const PIPELINE: &str = "\
version: 1
name: collection
vars: { rows: 1000 }
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: \"${vars.rows}\" } }
  few: { op: Filter, input: rows, with: { where: click = 1 } }
  user: few[user_id] >> Categorify >> TagAsUserID
  file: { op: ParquetExport, input: user, with: { path: out } }
";

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    workspace
}

fn run(workspace: &Workspace, rows: u32) -> String {
    let setting = format!("vars.rows={rows}");
    let output = workspace.towline(&["run", "p.yaml", "--set", &setting]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

fn cache(workspace: &Workspace, arguments: &[&str]) -> String {
    let output = workspace.towline(&[&["cache"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn what_the_last_runs_stand_on_stays_and_works_and_the_rest_goes_whole() {
    let workspace = workspace();
    for rows in [1000, 1100, 1200] {
        run(&workspace, rows);
    }
    let entries = || {
        fs::read_dir(workspace.path().join(".towline/entries"))
            .expect("a store")
            .count()
    };
    let before = entries();
    let dry = cache(&workspace, &["gc", "--keep-runs", "1", "--max-size", "0", "--dry-run"]);
    assert!(dry.contains("would remove: "), "{dry}");
    assert_eq!(entries(), before, "a dry run removes nothing");
    let gone = cache(&workspace, &["gc", "--keep-runs", "1", "--max-size", "0"]);
    assert_eq!(
        gone.replace("removed: ", "would remove: "),
        dry,
        "it said what would go"
    );
    assert!(entries() < before);
    assert!(run(&workspace, 1200).contains(" 0 ran, "), "what is kept is whole");
    assert!(cache(&workspace, &["verify"]).contains(", 0 damaged"));
    // Nothing is left in half: what went is made again, and comes to the same.
    assert!(run(&workspace, 1000).contains(" 0 reused"), "all of it went");
}

#[test]
fn without_a_reason_nothing_goes_and_the_bound_is_printed() {
    let workspace = workspace();
    run(&workspace, 1000);
    let size = cache(&workspace, &["size"]);
    assert!(
        size.contains("the artifacts of the last 10 complete runs of each pipeline") && size.contains("up to 20GB"),
        "{size}"
    );
    let gone = cache(&workspace, &["gc"]);
    assert!(gone.contains("removed: 0 entries, 0 artifacts"), "{gone}");
    let list = cache(&workspace, &["ls"]);
    assert!(
        list.contains("dataset") && list.contains("fit") && list.contains("user.1:Categorify"),
        "{list}"
    );
}

#[test]
fn a_blob_that_rots_in_silence_is_found_and_made_again() {
    let workspace = workspace();
    run(&workspace, 1000);
    let folder = workspace.path().join(".towline/blobs");
    let blob = fs::read_dir(folder)
        .expect("a store")
        .flat_map(|folder| fs::read_dir(folder.expect("a folder").path()).expect("it can be listed"))
        .map(|blob| blob.expect("a blob").path())
        .max_by_key(|path| fs::metadata(path).expect("it is there").len())
        .expect("there is one");
    let mut bytes = fs::read(&blob).expect("it can be read");
    bytes[100] ^= 1;
    fs::remove_file(&blob).expect("it is ours");
    fs::write(&blob, bytes).expect("it can be written");
    let output = workspace.towline(&["cache", "verify"]);
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    assert!(
        stdout(&output).contains("damaged, and removed: blobs/"),
        "{}",
        stdout(&output)
    );
    assert!(!run(&workspace, 1000).contains(" 0 ran, "));
    assert!(cache(&workspace, &["verify"]).contains(", 0 damaged"));
}

#[test]
fn a_store_that_is_not_there_is_reported_and_not_made() {
    let workspace = Workspace::new();
    for arguments in [vec!["cache", "size"], vec!["history"], vec!["diff"]] {
        let output = workspace.towline(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            stderr(&output).contains("there is no store at .towline"),
            "{}",
            stderr(&output)
        );
        assert!(!workspace.path().join(".towline").exists());
    }
}
