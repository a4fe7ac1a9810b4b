//! Sources divide their rows into splits: by files, by chance, by key and by time.

use std::collections::{BTreeMap, BTreeSet};

use crate::fixture::workspace::{Workspace, stderr, stdout};

/// 300 rows of 60 users, in order of time.
fn rows() -> String {
    let row = |time: u32| format!("{},{},{time}\n", time * 7 % 60, time * 13 % 50);
    std::iter::once("user,item,time\n".to_owned())
        .chain((0..300).map(row))
        .collect()
}

/// The rows of each split that a source with this configuration makes, as they are exported.
fn splits(format: &str, with: &str, text: &str) -> BTreeMap<String, Vec<[i64; 3]>> {
    let workspace = Workspace::new();
    workspace.write("rows.csv", text);
    workspace.write(
        "make.yaml",
        "version: 1\nnodes:\n  rows: { op: CsvSource, with: { path: rows.csv } }\n  out: { op: ParquetExport, input: rows, with: { path: rows } }\n",
    );
    assert_eq!(workspace.towline(&["run", "make.yaml"]).status.code(), Some(0));
    let source = if format == "csv" {
        format!("CsvSource, with: {{ path: rows.csv, split: {with} }}")
    } else {
        format!("ParquetSource, with: {{ path: rows/train.parquet, split: {with} }}")
    };
    workspace.write(
        "p.yaml",
        &format!("version: 1\nnodes:\n  rows: {{ op: {source} }}\n  out: {{ op: ParquetExport, input: rows, with: {{ path: out }} }}\n"),
    );
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let files = std::fs::read_dir(workspace.path().join("out")).expect("it was written");
    files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, read(&path))
        })
        .collect()
}

fn read(path: &std::path::Path) -> Vec<[i64; 3]> {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    let file = towline_api::TableFile {
        path: path.to_owned(),
        rows: 0,
    };
    let mut rows = Vec::new();
    for batch in file.batches(None).expect("it is Parquet") {
        let batch = batch.expect("it is whole");
        let columns: Vec<_> = batch.columns().iter().map(AsArray::as_primitive::<Int64Type>).collect();
        rows.extend((0..batch.num_rows()).map(|row| [0, 1, 2].map(|column: usize| columns[column].value(row))));
    }
    rows
}

#[test]
fn by_key_all_rows_of_a_user_stay_together_and_added_rows_move_nobody() {
    let with = "{ fraction: { train: 0.7, test: 0.3 }, key: user, seed: 5 }";
    let found = splits("csv", with, &rows());
    assert_eq!(found.keys().collect::<Vec<_>>(), ["test", "train"]);
    let users = |split: &str| found[split].iter().map(|row| row[0]).collect::<BTreeSet<_>>();
    assert!(users("train").is_disjoint(&users("test")));
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), 300);
    assert_eq!(
        splits("parquet", with, &rows()),
        found,
        "the format makes no difference"
    );

    let more = splits("csv", with, &(rows() + "1,1,900\n77,1,901\n"));
    for (split, rows) in &found {
        let still: BTreeSet<_> = more[split].iter().collect();
        assert!(rows.iter().all(|row| still.contains(row)), "{split}");
    }
}

#[test]
fn by_time_the_past_is_train_and_the_rest_is_valid() {
    for format in ["csv", "parquet"] {
        let found = splits(format, "{ time: { column: time, at: 200 } }", &rows());
        assert!(found["train"].iter().all(|row| row[2] < 200), "{format}");
        assert!(found["valid"].iter().all(|row| row[2] >= 200), "{format}");
        assert_eq!((found["train"].len(), found["valid"].len()), (200, 100));
    }
}

#[test]
fn by_order_the_last_of_each_user_are_set_aside() {
    let found = splits("csv", "{ leave_last: { key: user, order_by: time, n: 2 } }", &rows());
    assert_eq!(found["valid"].len(), 120);
    for row in &found["valid"] {
        let later = found["train"]
            .iter()
            .filter(|other| other[0] == row[0] && other[2] > row[2]);
        assert_eq!(later.count(), 0);
    }
}

#[test]
fn what_is_wrong_with_a_split_is_told_at_its_place() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", &rows());
    workspace.write(
        "p.yaml",
        "version: 1
nodes:
  a: { op: CsvSource, with: { path: rows.csv, split: { fraction: { train: 0.7 } } } }
  b: { op: CsvSource, with: { path: rows.csv, split: { time: { column: tme, at: 3 } } } }
  c: { op: CsvSource, with: { splits: { train: rows.csv }, split: { fraction: { train: 1.0 } } } }
",
    );
    let output = workspace.towline(&["validate", "p.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    let heads: Vec<&str> = told.lines().filter(|line| line.starts_with("error[")).collect();
    assert_eq!(
        heads,
        [
            "error[out-of-range] p.yaml:3:66: in the node `a`, CsvSource: the fractions must be positive and add up to 1, not 0.7",
            "error[unknown-column] p.yaml:4:72: in the node `b`, CsvSource: there is no column `tme`",
            "error[conflict] p.yaml:5:67: in the node `c`, CsvSource: `split` cannot divide a source with `splits`",
        ],
        "{told}"
    );
    assert!(told.contains("did you mean `time`?"), "{told}");
}
