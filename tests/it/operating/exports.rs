//! What is exported, read by other programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::fixture::workspace::{Workspace, stderr, stdout};

const ROWS: &str = "user,item,price,day,at,ok,words\n\
    1,a,10.5,2024-02-29,2024-02-29T13:05:06,true,x y\n\
    1,,NaN,,,,\n\
    9007199254740993,\u{e9}\u{1F600},,1969-12-31,1969-12-31T23:59:59,false,\n\
    ,b,-inf,0001-01-01,2024-05-01T00:00:00,true,\"a \"\"quote\"\", and more\"\n";
const PIPELINE: &str = "version: 1
nodes:
  rows:
    op: CsvSource
    with: { path: rows.csv, schema: { user: int64, price: float64, day: date, at: timestamp, ok: bool } }
  user:  rows[user] >> Categorify >> TagAsUserID
  item:  rows[item] >> Categorify >> TagAsItemID
  words: { op: GroupBy, input: rows, with: { by: [ok], aggregate: { words: [list], item: [list], price: [mean] } } }
  ids:   user + item + rows[price, day, at, ok, words]
  plain:   { op: ParquetExport, input: rows, with: { path: out/plain } }
  lists:   { op: ParquetExport, input: words, with: { path: out/lists.parquet } }
  encoded: { op: ParquetExport, input: ids, with: { path: out/encoded, decode: false } }
  decoded: { op: ParquetExport, input: ids, with: { path: out/decoded } }
  merlin:  { op: MerlinExport, input: ids, with: { path: out/merlin } }
";

/// `examples/python/read_exports.py` with the readers that `cargo xtask servers` fetches.
fn read_exports(folder: &Path) -> std::process::Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join(".test-servers/python");
    assert!(
        packages.join("towline-readers").exists(),
        "{} is not set up: run `cargo xtask servers`",
        packages.display()
    );
    Command::new("python3")
        .arg(root.join("examples/python/read_exports.py"))
        .arg(folder)
        .args(["--readers", "polars,duckdb"])
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("Python 3 runs")
}

#[test]
fn every_exported_file_reads_alike_in_other_programs() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", ROWS);
    workspace.write("p.yaml", PIPELINE);
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let output = read_exports(&workspace.path().join("out"));
    let (said, complaint) = (stdout(&output), stderr(&output));
    assert!(output.status.success(), "{said}{complaint}");
    for file in [
        "plain/train.parquet: 4 rows of user",
        "lists.parquet: 3 rows of ok",
        "encoded/",
        "decoded/",
    ] {
        assert!(said.contains(file), "{said}");
    }
    for file in ["merlin/train/part_0.parquet", "merlin/categories/unique.item.parquet"] {
        assert!(said.contains(file), "{said}");
    }
}

#[test]
fn a_run_that_fails_leaves_what_was_exported_before() {
    let workspace = Workspace::new();
    workspace.write("train.csv", "n\n1\n2\n");
    workspace.write("valid.csv", "n\n3\n");
    workspace.write(
        "p.yaml",
        "version: 1
nodes:
  rows:
    op: CsvSource
    with: { splits: { train: train.csv, valid: valid.csv }, schema: { n: string } }
  whole:  { op: Sql, inputs: { rows: rows }, with: { query: SELECT CAST(n AS BIGINT) AS n FROM rows } }
  plain:  { op: ParquetExport, input: whole, with: { path: out/plain } }
  merlin: { op: MerlinExport, input: whole, with: { path: out/merlin } }
",
    );
    let exported = || {
        let files = workspace.files_below("out").into_iter();
        let contents = files.map(|path| (path.clone(), std::fs::read(path).expect("it can be read")));
        contents.collect::<BTreeMap<_, _>>()
    };
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let before = exported();
    assert!(before.len() > 4, "{:?}", before.keys());
    // The rows of the first split are other ones, and well; the second one has what is no number.
    workspace.write("train.csv", "n\n7\n8\n9\n");
    workspace.write("valid.csv", "n\n3\nnine\n");
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(exported(), before);
    assert_eq!(workspace.leftovers(), Vec::<std::path::PathBuf>::new());
    workspace.write("valid.csv", "n\n3\n9\n");
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert_ne!(exported(), before);
}
