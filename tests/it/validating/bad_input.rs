//! Bad input gives a clear error and leaves nothing half-written.

use std::process::Command;

use crate::fixture::workspace::{Workspace, stderr, stdout};

fn failing(nodes: &str, files: &[(&str, &str)], code: i32) -> (Workspace, String) {
    let workspace = Workspace::new();
    for (name, text) in files {
        workspace.write(name, text);
    }
    workspace.write("p.yaml", &format!("version: 1\nnodes:\n{nodes}"));
    let output = workspace.towline(&["run", "p.yaml"]);
    let told = stdout(&output) + &stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{told}");
    (workspace, told)
}

const TRAINING: &str = "  user: rows[user] >> Categorify >> TagAsUserID
  item: rows[item] >> Categorify >> TagAsItemID
  features: user + item
  model: { op: TwoTowerTrain, input: features, with: { layers: [8], batch_size: 16, epochs: 1 } }
";

#[test]
fn a_file_that_is_not_there_is_told_with_its_place() {
    let (_, told) = failing("  rows: { op: CsvSource, with: { path: no/such.csv } }\n", &[], 2);
    assert!(told.contains("error[bad-source] p.yaml:3:40"), "{told}");
    assert!(told.contains("there is no file no/such.csv"), "{told}");
}

#[test]
fn a_column_of_the_wrong_type_is_told_before_anything_runs() {
    let nodes = "  rows: { op: CsvSource, with: { path: rows.csv } }
  user: rows[user] >> TagAsUserID
  item: rows[item] >> Categorify >> TagAsItemID
  features: user + item
  model: { op: TwoTowerTrain, input: features }
";
    let (workspace, told) = failing(nodes, &[("rows.csv", "user,item\nann,1\nbob,2\n")], 2);
    assert!(told.contains("`user`") && told.contains("Utf8"), "{told}");
    assert!(!workspace.path().join(".towline").exists(), "nothing ran");
}

#[test]
fn a_value_that_is_not_of_its_columns_type_is_told_with_the_column() {
    let nodes = "  rows: { op: CsvSource, with: { path: rows.csv, schema: { user: int64 } } }\n";
    let (_, told) = failing(nodes, &[("rows.csv", "user,item\n1,1\nbob,2\n")], 1);
    assert!(told.contains("bob") && told.contains("line"), "{told}");
}

#[test]
fn a_split_without_rows_is_told_and_nothing_is_published() {
    let nodes = format!(
        "  all: {{ op: CsvSource, with: {{ path: rows.csv }} }}
  rows: {{ op: Filter, input: all, with: {{ where: item > 100 }} }}
{TRAINING}  out: {{ op: ModelExport, input: model, with: {{ path: out }} }}
"
    );
    let (workspace, told) = failing(&nodes, &[("rows.csv", "user,item\n1,1\n2,2\n")], 1);
    assert!(
        told.contains("the split `train` has too few rows to train on"),
        "{told}"
    );
    assert!(!workspace.path().join("out").exists());
}

#[test]
fn a_split_that_is_missing_is_told_before_anything_runs() {
    let nodes = format!(
        "  rows: {{ op: CsvSource, with: {{ path: rows.csv }} }}
{TRAINING}  quality: {{ op: Evaluate, inputs: {{ model: model, data: features }}, with: {{ split: test }} }}
"
    );
    let (_, told) = failing(&nodes, &[("rows.csv", "user,item\n1,1\n2,2\n")], 2);
    assert!(told.contains("`test`") && told.contains("train"), "{told}");
}

#[test]
fn text_that_is_not_yaml_is_told_with_its_place() {
    for (text, place) in [
        ("version: 1\nnodes: [\n", "p.yaml:"),
        ("version: 1\n\tnodes: {}\n", "p.yaml:2:1"),
    ] {
        let workspace = Workspace::new();
        workspace.write("p.yaml", text);
        let output = workspace.towline(&["run", "p.yaml"]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(place), "{}", stderr(&output));
    }
}

/// Writes beyond a limit fail as they do on a full disk; only the number of the error differs.
#[test]
fn a_disk_that_takes_no_more_leaves_the_old_export_and_a_store_that_works() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1\nvars: { rows: 1000 }\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: \"${vars.rows}\" } }\n  out: { op: ParquetExport, input: rows, with: { path: out } }\n",
    );
    assert_eq!(workspace.towline(&["run", "p.yaml"]).status.code(), Some(0));
    let file = workspace.path().join("out/train.parquet");
    let before = std::fs::read(&file).expect("it was written");

    let more = ["run", "p.yaml", "--set", "vars.rows=200000"];
    let limited = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 500; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_towline"),
        ])
        .args(more)
        .current_dir(workspace.path())
        .output()
        .expect("a shell");
    let told = stdout(&limited) + &stderr(&limited);
    assert_eq!(limited.status.code(), Some(1), "{told}");
    assert!(told.contains("File too large"), "{told}");
    assert_eq!(std::fs::read(&file).expect("it is still there"), before);
    assert!(workspace.leftovers().is_empty(), "{:?}", workspace.leftovers());

    let output = workspace.towline(&more);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert_ne!(std::fs::read(&file).expect("it is there"), before);
}

/// Rows of `train`, and those of `valid` after them.
fn validated(valid: &str, with: &str, code: i32) -> String {
    let nodes = format!(
        "  rows: {{ op: CsvSource, with: {{ splits: {{ train: train.csv, valid: valid.csv }}, schema: {{ user: int64, item: int64 }} }} }}
  user: rows[user] >> Categorify >> TagAsUserID
  item: rows[item] >> Categorify >> TagAsItemID
  features: user + item
  model: {{ op: TwoTowerTrain, input: features, with: {{ layers: [8], batch_size: 4, epochs: 2{with} }} }}
"
    );
    let train = "user,item\n1,1\n2,2\n1,2\n2,3\n3,3\n";
    failing(&nodes, &[("train.csv", train), ("valid.csv", valid)], code).1
}

#[test]
fn a_validation_of_nothing_is_told_and_nothing_is_stopped_by_it() {
    for (valid, why) in [
        ("user,item\n", "it has no rows"),
        (
            "user,item\n1,77\n2,78\n",
            "none of its 2 interactions has an item in the catalogue",
        ),
    ] {
        let told = validated(valid, "", 0);
        assert!(
            told.contains(&format!("warning: the split `valid` has no queries to evaluate: {why}")),
            "{told}"
        );
        assert!(!told.contains("-0.0"), "{told}");
        let told = validated(valid, ", early_stopping: { metric: recall_at_10 }", 1);
        let expected = format!("`early_stopping`: the split `valid` has no queries to evaluate: {why}");
        assert!(told.contains(&expected), "{told}");
    }
    let told = validated(
        "user,item\n1,1\n9,77\n",
        ", early_stopping: { metric: recall_at_10 }",
        0,
    );
    assert!(!told.contains("no queries to evaluate"), "{told}");
}

#[test]
fn an_evaluation_of_nothing_says_why() {
    let nodes = "  rows: { op: CsvSource, with: { splits: { train: train.csv, valid: valid.csv } } }
  user: rows[user] >> Categorify >> TagAsUserID
  item: rows[item] >> Categorify >> TagAsItemID
  features: user + item
  model: { op: Popularity, input: features }
  quality: { op: Evaluate, inputs: { model: model, data: features } }
";
    let train = "user,item\n1,1\n2,2\n1,2\n";
    let files = [("train.csv", train), ("valid.csv", "user,item\n8,1\n9,2\n")];
    let (_, told) = failing(nodes, &files, 1);
    let why = "all of its 2 interactions are of unknown users or with items that the user has already seen";
    assert!(
        told.contains(&format!("the split `valid` has no queries to evaluate: {why}")),
        "{told}"
    );
    let few = nodes.replace("data: features }", "data: features }, with: { bootstrap: 3 }");
    let (_, told) = failing(&few, &files, 2);
    assert!(
        told.contains("a 95 % confidence interval needs 20 to 100000 resamples"),
        "{told}"
    );
}

/// Each of them would ask for more memory than there is, which ends the process.
#[test]
fn sizes_beyond_all_measure_are_told_before_anything_runs() {
    const HUGE: &str = "1000000000000000";
    let rows = [("rows.csv", "user,item\n1,1\n2,2\n1,2\n2,3\n")];
    let source = "  rows: { op: CsvSource, with: { path: rows.csv } }\n";
    for with in [
        format!("layers: [{HUGE}]"),
        format!("embedding_dim: {HUGE}"),
        format!("embedding_dims: {{ item: {HUGE} }}"),
        format!("uniform_negatives: {HUGE}"),
        format!("hard_negatives: {{ top: {HUGE} }}"),
        format!("hard_negatives: {{ each: {HUGE} }}"),
    ] {
        let nodes = format!(
            "{source}{}",
            TRAINING.replace("layers: [8], batch_size: 16, epochs: 1", &with)
        );
        let (_, told) = failing(&nodes, &rows, 2);
        assert!(
            told.contains("out-of-range") && told.contains("at most"),
            "{with}: {told}"
        );
    }
    // Lists are no longer than the catalogue, whatever was asked for.
    let nodes = format!(
        "{source}{TRAINING}  quality: {{ op: Evaluate, inputs: {{ model: model, data: features }}, with: {{ split: train, k: [{HUGE}] }} }}\n"
    );
    failing(&nodes, &rows, 0);
}
