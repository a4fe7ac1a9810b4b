//! Feature operators through the binary, and what a run has learnt applied to new rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use towline::run::{NodeStatus, Transformer};

use crate::fixture::workspace::{Workspace, stderr, stdout};

const CLICKS: &str = "user,item,price,click\n1,a,10,1\n1,b,20,0\n2,a,30,1\n3,c,,0\n2,a,40,1\n";
const PIPELINE: &str = "version: 1
nodes:
  clicks: { op: CsvSource, with: { path: clicks.csv } }
  item:   clicks[item] >> Categorify >> TagAsItemID
  price:  clicks[price] >> FillMissing(with=median) >> Normalize(method=min_max)
  rate:   { op: TargetEncode, input: 'clicks[item, click]', with: { target: [click], smoothing: 0 } }
  features: item + price + rate
  out: { op: ParquetExport, input: features, with: { path: out, decode: false } }
";

fn ran(workspace: &Workspace, pipeline: &str) {
    workspace.write("clicks.csv", CLICKS);
    workspace.write("p.yaml", pipeline);
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).expect("columns");
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).expect("a file"), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
}

fn read(path: &Path) -> RecordBatch {
    let file = std::fs::File::open(path).expect("it was written");
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .expect("Parquet")
        .build()
        .expect("a reader");
    reader.next().expect("rows").expect("a batch")
}

fn new_rows(workspace: &Workspace) -> PathBuf {
    let path = workspace.path().join("new.parquet");
    let items: ArrayRef = Arc::new(StringArray::from(vec![Some("c"), Some("new"), Some("a"), None]));
    let prices: ArrayRef = Arc::new(Int64Array::from(vec![Some(40), None, Some(10), Some(100)]));
    let clicks: ArrayRef = Arc::new(Int64Array::from(vec![0; 4]));
    let more: ArrayRef = Arc::new(Int64Array::from(vec![7; 4]));
    write(
        &path,
        vec![("click", clicks), ("more", more), ("price", prices), ("item", items)],
    );
    path
}

#[test]
fn new_rows_are_transformed_with_what_was_learnt_and_decoded_again() {
    let workspace = Workspace::new();
    ran(&workspace, PIPELINE);
    new_rows(&workspace);
    let transform = [
        "transform",
        "p.yaml",
        "--to",
        "features",
        "--input",
        "new.parquet",
        "--output",
        "ids.parquet",
    ];
    let output = workspace.towline(&transform);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let ids = read(&workspace.path().join("ids.parquet"));
    // The vocabulary is a (three times), b, c; the median of the prices is 25, their range 10 to 40.
    assert_eq!(ids.column(0).as_primitive::<Int64Type>().values(), &[5, 2, 3, 1]);
    assert_eq!(
        ids.column(1).as_primitive::<Float64Type>().values(),
        &[1.0, 0.5, 0.0, 3.0]
    );
    assert_eq!(
        ids.column(2).as_primitive::<Float64Type>().values(),
        &[0.0, 0.6, 1.0, 0.6],
        "the mean of the whole of train"
    );
    let decode = [
        "decode",
        "p.yaml",
        "--to",
        "features",
        "--input",
        "ids.parquet",
        "--output",
        "back.parquet",
    ];
    let output = workspace.towline(&decode);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let back = read(&workspace.path().join("back.parquet"));
    assert_eq!(
        back.column(0).as_string::<i32>(),
        &StringArray::from(vec![Some("c"), None, Some("a"), None])
    );
    assert_eq!(back.column(1), ids.column(1));
}

#[test]
fn the_library_and_a_run_do_the_same() {
    let workspace = Workspace::new();
    ran(&workspace, PIPELINE);
    let registry = towline_operators::builtin();
    let store = workspace.path().join(".towline");
    let pipeline = workspace.path().join("p.yaml");
    // Paths of a pipeline are relative to the folder that it runs in.
    let absolute = PIPELINE.replace("clicks.csv", &workspace.path().join("clicks.csv").display().to_string());
    workspace.write("p.yaml", &absolute);
    let transformer = Transformer::open(&pipeline, &store, "features", &registry).expect("it was run");
    assert_eq!(transformer.input().names().collect::<Vec<_>>(), ["item", "price"]);
    let batch = read(&new_rows(&workspace));
    let out = transformer.transform(&batch).expect("rows");
    let transform = [
        "transform",
        "p.yaml",
        "--to",
        "features",
        "--input",
        "new.parquet",
        "--output",
        "ids.parquet",
    ];
    assert_eq!(workspace.towline(&transform).status.code(), Some(0));
    assert_eq!(out.columns(), read(&workspace.path().join("ids.parquet")).columns());

    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let wrong = RecordBatch::try_from_iter([("item", Arc::clone(&text)), ("price", text)]).expect("columns");
    let error = transformer
        .transform(&wrong)
        .expect_err("price is a number")
        .to_string();
    assert!(
        error.contains("`price`") && error.contains("Utf8") && error.contains("Int64"),
        "{error}"
    );
    let none =
        RecordBatch::try_from_iter([("price", Arc::new(Float64Array::from(vec![1.0])) as ArrayRef)]).expect("a column");
    assert!(
        transformer
            .transform(&none)
            .expect_err("no item")
            .to_string()
            .contains("`item`")
    );
}

#[test]
fn what_was_never_run_and_what_makes_rows_is_told() {
    let workspace = Workspace::new();
    workspace.write("clicks.csv", CLICKS);
    workspace.write("p.yaml", PIPELINE);
    new_rows(&workspace);
    let to = |node: &str| {
        let output = workspace.towline(&[
            "transform",
            "p.yaml",
            "--to",
            node,
            "--input",
            "new.parquet",
            "--output",
            "x.parquet",
        ]);
        (output.status.code(), stderr(&output))
    };
    let (code, error) = to("features");
    assert!(code == Some(1) && error.contains("run the pipeline first"), "{error}");
    let (code, error) = to("clicks");
    assert!(code == Some(2) && error.contains("makes rows of its own"), "{error}");
    let (code, error) = to("feature");
    assert!(code == Some(2) && error.contains("did you mean `features`?"), "{error}");
    assert!(!workspace.path().join("x.parquet").exists(), "nothing half-written");
}

#[test]
fn the_same_column_encoded_twice_keeps_both_vocabularies_and_a_second_run_costs_nothing() {
    let workspace = Workspace::new();
    let pipeline = "version: 1
nodes:
  clicks: { op: CsvSource, with: { path: clicks.csv } }
  all:    clicks[item] >> Categorify
  often:  { op: Categorify, input: 'clicks[item]', with: { min_count: 2 } }
  renamed: { op: Rename, input: often, with: { columns: { item: often } } }
  both:   all + renamed
  out:    { op: ParquetExport, input: both, with: { path: out } }
";
    ran(&workspace, pipeline);
    let out = read(&workspace.path().join("out/train.parquet"));
    assert_eq!(
        out.column(0).as_string::<i32>(),
        &StringArray::from(vec!["a", "b", "a", "c", "a"])
    );
    let often = StringArray::from(vec![Some("a"), None, Some("a"), None, Some("a")]);
    assert_eq!(out.column(1).as_string::<i32>(), &often);
    let again = workspace.towline(&["run", "p.yaml"]);
    assert!(stdout(&again).contains(" 0 ran, "), "{}", stdout(&again));
}

#[test]
fn tags_that_contradict_and_columns_of_one_name_are_found_without_data() {
    let workspace = Workspace::new();
    workspace.write("clicks.csv", CLICKS);
    workspace.write(
        "p.yaml",
        "version: 1
nodes:
  clicks: { op: CsvSource, with: { path: clicks.csv } }
  id:     clicks[price] >> Normalize >> TagAsUserID
  twice:  clicks[item] + clicks[item]
",
    );
    let output = workspace.towline(&["validate", "p.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let found = stderr(&output) + &stdout(&output);
    assert!(
        found.contains("tag-conflict") && found.contains("duplicate-column"),
        "{found}"
    );
}

#[test]
fn a_given_vocabulary_that_changes_makes_the_node_run_again() {
    let workspace = Workspace::new();
    workspace.write("items.csv", "value\na\n");
    let pipeline = "version: 1
nodes:
  clicks: { op: CsvSource, with: { path: clicks.csv } }
  item:   { op: Categorify, input: 'clicks[item]', with: { vocabulary: { item: items.csv }, grow: true } }
  out:    { op: ParquetExport, input: item, with: { path: out, decode: false } }
";
    ran(&workspace, pipeline);
    let ids = || {
        read(&workspace.path().join("out/train.parquet"))
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    };
    assert_eq!(ids(), [3, 4, 3, 5, 3]);
    workspace.write("items.csv", "value\nc\na\n");
    ran(&workspace, pipeline);
    assert_eq!(ids(), [4, 5, 4, 3, 4]);
}

#[test]
fn lists_that_come_from_a_parquet_file_are_padded() {
    let workspace = Workspace::new();
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), Some(2), Some(3)]),
        Some(vec![Some(4)]),
        None,
    ]);
    write(&workspace.path().join("lists.parquet"), vec![("x", Arc::new(lists))]);
    workspace.write(
        "p.yaml",
        "version: 1
nodes:
  rows: { op: ParquetSource, with: { path: lists.parquet } }
  cut:  { op: ListSlice, input: rows, with: { end: 2, pad: true } }
  out:  { op: ParquetExport, input: cut, with: { path: out } }
",
    );
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let cut = read(&workspace.path().join("out/train.parquet"));
    let expected = ListArray::from_iter_primitive::<Int64Type, _, _>(
        [[1, 2], [4, 0], [0, 0]].map(|list| Some(list.map(Some).to_vec())),
    );
    let lists = cut.column(0).as_list::<i32>();
    assert_eq!(lists.value_offsets(), expected.value_offsets());
    assert_eq!(lists.values(), expected.values());
}

#[test]
fn a_command_runs_again_for_its_command_its_files_and_its_environment_and_for_nothing_else() {
    let workspace = Workspace::new();
    workspace.write("clicks.csv", CLICKS);
    workspace.write(
        "copy.sh",
        "cp \"$TOWLINE_INPUT\"/clicks/train.arrow \"$TOWLINE_OUTPUT\"\n",
    );
    let pipeline = |arguments: &str| {
        let text = format!(
            "version: 1
nodes:
  clicks: {{ op: CsvSource, with: {{ path: clicks.csv }} }}
  copy:
    op: Command
    inputs: {{ clicks: clicks }}
    with:
      command: [sh, copy.sh{arguments}]
      format: arrow
      files: [copy.sh]
      environment: [LEVEL]
      schema: {{ user: int64, item: string }}
  out: {{ op: ParquetExport, input: copy, with: {{ path: out }} }}
"
        );
        workspace.write("p.yaml", &text);
    };
    let status = |level: &str| {
        let output = workspace.towline_with(&["run", "p.yaml"], &[("LEVEL", level)]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        let record = workspace.records().pop().expect("a run");
        let node = record.nodes.into_iter().find(|node| node.name == "copy");
        node.expect("it is in the pipeline").status
    };
    pipeline("");
    assert_eq!(status("1"), NodeStatus::Ran);
    assert_eq!(status("1"), NodeStatus::Reused, "nothing has changed");
    assert_eq!(status("2"), NodeStatus::Ran, "its environment");
    workspace.write(
        "copy.sh",
        "cp \"$TOWLINE_INPUT\"/clicks/train.arrow \"$TOWLINE_OUTPUT\" # again\n",
    );
    assert_eq!(status("2"), NodeStatus::Ran, "its file");
    pipeline(", more");
    assert_eq!(status("2"), NodeStatus::Ran, "its command");
    let written = read(&workspace.path().join("out/train.parquet"));
    let names: Vec<_> = written
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(names, ["item", "user"], "what it declares, and no more");
}

#[test]
fn the_page_of_operators_is_fresh() {
    let output = Workspace::new().towline(&["ops", "--format", "md"]);
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operators.md")).expect("the page");
    assert!(
        stdout(&output) == page,
        "out of date: `towline ops --format md > docs/operators.md` writes it anew"
    );
}

#[test]
fn equal_counts_come_in_value_order_from_any_number_of_files() {
    let values: Vec<i64> = (0..20).map(|place| place * 7 % 20).collect();
    for size in [1, 3, 20] {
        let workspace = Workspace::new();
        for (number, part) in values.chunks(size).enumerate() {
            let lines: String = part.iter().map(|value| format!("{value}\n")).collect();
            workspace.write(&format!("part-{number:02}.csv"), &format!("v\n{lines}"));
        }
        ran(
            &workspace,
            "version: 1
nodes:
  rows: { op: CsvSource, with: { path: 'part-*.csv' } }
  ids:  rows[v] >> Categorify
  named: { op: Rename, input: ids, with: { columns: { v: id } } }
  both: rows + named
  out:  { op: ParquetExport, input: both, with: { path: out, decode: false } }
",
        );
        let rows = read(&workspace.path().join("out/train.parquet"));
        let column = |place: usize| rows.column(place).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(column(0), values, "rows stay in order");
        let expected: Vec<i64> = values.iter().map(|value| value + 3).collect();
        assert_eq!(column(1), expected, "files of {size} rows");
    }
}
