//! What each operator makes of the same input, as a digest: a change of it without a new `CODE_VERSION` would let old
//! results be taken for new ones.
//!
//! After a change that is meant, count the operator's `CODE_VERSION` up and write the digests anew:
//! `TOWLINE_GOLDEN=write cargo nextest run --workspace --all-targets -E 'test(golden)'`. A digest that changed under the
//! same version is never written.
//!
//! Digests are of what a reader finds, not of bytes: rows as text, numbers that training or a solver has found to a few
//! digits, so that they are the same on every processor.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use redb::{ReadableDatabase, ReadableTable};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use towline::run::NodeStatus;
use towline::store::{Content, Entry, Lookup, Store};
use towline_api::TableFile;
use towline_publish::KEYS_TABLE;

use crate::fixture::workspace::{Workspace, stderr, stdout};

const DIGESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/operating/golden/digests.json");

/// It writes to a server that searches and to nothing else; its own tests hold what is in there to the exact top-k.
const NEEDS_A_SERVER: &str = "VectorSink";

/// What is known of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Golden {
    code: u32,
    digest: String,
}

/// 120 interactions of 12 users with 15 items, with a null here and there.
fn rows() -> String {
    let mut csv = "user,item,kind,price,clicked,same,time\n".to_owned();
    for row in 0..120_u32 {
        let (user, item) = (row * 7 % 12 + 1, row * row % 23 % 15 + 100);
        let kind = ["a", "b", "c", ""][(row * 5 % 11 % 4) as usize];
        let price = if row % 13 == 0 {
            String::new()
        } else {
            format!("{}.{}", row * 3 % 11, row % 4 * 25)
        };
        let (day, hour, minute) = (row / 10 + 1, row * 5 % 24, row * 17 % 60);
        let clicked = u32::from(row % 3 == 0);
        writeln!(
            csv,
            "{user},{item},{kind},{price},{clicked},1,2024-05-{day:02}T{hour:02}:{minute:02}:00"
        )
        .expect("a string");
    }
    csv
}

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("rows.csv", &rows());
    let items: String = (100..112).map(|id| format!("{id},item {id}\n")).collect();
    workspace.write("items.csv", &format!("id,title\n{items}"));
    workspace.write("files.yaml", include_str!("golden/files.yaml"));
    let stored = |line: &str| match line.strip_suffix(" }") {
        Some(node) if line.contains("{ op: ") => format!("{node}, cache: always }}\n"),
        _ => format!("{line}\n"),
    };
    let pipeline: String = include_str!("golden/pipeline.yaml").lines().map(stored).collect();
    workspace.write("golden.yaml", &pipeline);
    for file in ["files.yaml", "golden.yaml"] {
        let output = workspace.towline(&["run", file, "--quiet"]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    }
    workspace
}

/// Everything a fit has learnt or a metric says is read back from the store as it was made: else what follows runs again.
#[test]
fn nothing_runs_a_second_time_and_every_operator_is_deterministic() {
    let workspace = workspace();
    let again = workspace.towline(&["run", "golden.yaml"]);
    assert!(stdout(&again).contains(": 0 ran, "), "{}", stdout(&again));
    let twice = workspace.towline(&["run", "golden.yaml", "--verify-determinism", "--no-cache"]);
    assert_eq!(twice.status.code(), Some(0), "{}{}", stdout(&twice), stderr(&twice));
}

#[test]
fn golden_outputs_change_with_the_code_version_and_never_without() {
    let workspace = workspace();
    let store = Store::open(&workspace.path().join(".towline")).expect("a store");
    let record = workspace.records().pop().expect("a run");
    let mut made: BTreeMap<String, (u32, String)> = BTreeMap::new();
    for node in &record.nodes {
        assert_eq!(node.status, NodeStatus::Ran, "{}: {}", node.name, node.reason);
        let key = node
            .keys
            .last()
            .unwrap_or_else(|| panic!("{} has stored nothing", node.name));
        let Lookup::Found(entry) = store.lookup(key) else {
            panic!("{} is not stored", node.name);
        };
        let told = told(&workspace, &store, &entry);
        let (_, text) = made.entry(node.operator.clone()).or_insert((node.code, String::new()));
        writeln!(text, "{}\n{told}", node.name).expect("a string");
    }
    let all: Vec<&str> = towline_operators::builtin().names();
    let known = |name: &&&str| made.contains_key(**name) || **name == NEEDS_A_SERVER;
    let lacking: Vec<&&str> = all.iter().filter(|name| !known(name)).collect();
    assert!(
        lacking.is_empty(),
        "tests/it/operating/golden/pipeline.yaml has no {lacking:?}"
    );
    let made = made.into_iter().map(|(operator, (code, text))| {
        let digest = blake3::hash(text.as_bytes()).to_hex()[..16].to_owned();
        (operator, Golden { code, digest })
    });
    compare(&made.collect());
}

fn compare(made: &BTreeMap<String, Golden>) {
    let known = fs::read_to_string(DIGESTS).unwrap_or_else(|_| "{}".to_owned());
    let mut known: BTreeMap<String, Golden> = serde_json::from_str(&known).expect("digests.json can be read");
    let mut wrong = Vec::new();
    for (operator, golden) in made {
        match known.get(operator) {
            Some(before) if before == golden => {}
            Some(before) if before.code == golden.code => {
                wrong.push(format!(
                    "the output of {operator} is another one: bump CODE_VERSION of {operator}"
                ));
            }
            _ => {
                wrong.push(format!("digests.json does not know {operator} of code {}", golden.code));
                known.insert(operator.clone(), golden.clone());
            }
        }
    }
    if std::env::var("TOWLINE_GOLDEN").is_ok_and(|asked| asked == "write") {
        known.retain(|operator, _| made.contains_key(operator));
        let text = serde_json::to_string_pretty(&known).expect("plain values");
        fs::write(DIGESTS, text + "\n").expect("the file can be written");
        wrong.retain(|text| text.contains("bump"));
    }
    assert!(
        wrong.is_empty(),
        "{}\nthen write the digests anew: TOWLINE_GOLDEN=write cargo nextest run --workspace --all-targets -E 'test(golden)'",
        wrong.join("\n")
    );
}

/// What a node has made, in words.
fn told(workspace: &Workspace, store: &Store, entry: &Entry) -> String {
    let mut out = String::new();
    for (name, value) in &entry.metrics {
        writeln!(out, "{name} {value:.3e}").expect("a string");
    }
    match &entry.content {
        Content::Dataset { schema, splits, .. } => {
            for column in &schema.columns {
                let domain = column.domain.as_ref().map(|domain| (&domain.name, domain.size));
                writeln!(
                    out,
                    "{} {:?} {:?} {domain:?}",
                    column.name, column.data_type, column.tags
                )
                .expect("a string");
            }
            for split in splits {
                out += &format!("{}\n{}", split.name, table(&store.blob_path(&split.blob)));
            }
        }
        Content::Model { description, files, .. } => {
            out += &rounded(description).to_string();
            for (name, blob) in files {
                out += &file(name, &store.blob_path(blob));
            }
        }
        Content::Receipt { receipt } => {
            out += &format!("{} records\n", receipt.records);
            for path in receipt.files.keys() {
                let shown = path.strip_prefix(workspace.path()).unwrap_or(path);
                out += &file(&shown.display().to_string(), &workspace.path().join(path));
            }
        }
        Content::Metrics => {}
        Content::State { .. } => panic!("a node's last work is not a fit"),
    }
    out
}

fn file(name: &str, path: &Path) -> String {
    let content = match path.extension().and_then(|ending| ending.to_str()) {
        Some("parquet") => table(path),
        Some("json") => {
            let text = fs::read(path).expect("it is there");
            serde_json::from_slice(&text).map_or_else(|_| "not JSON".to_owned(), |value| rounded(&value).to_string())
        }
        Some("redb") => documents(path),
        Some("safetensors") => tensors(path),
        // Written by libraries, in bytes that differ between their versions.
        Some(library @ ("pt" | "usearch")) => library.to_owned(),
        _ => String::from_utf8_lossy(&fs::read(path).expect("it is there")).into_owned(),
    };
    format!("{name}\n{content}\n")
}

/// JSON with its fractions to a few digits, and without digests, sizes of files and times.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "vocabulary" | "digest" | "files"));
            kept.map(|(key, value)| (key.clone(), rounded(value))).collect()
        }
        Value::Array(items) => items.iter().map(rounded).collect(),
        Value::Number(number) if number.is_f64() => json!(format!("{:.3e}", number.as_f64().unwrap_or_default())),
        other => other.clone(),
    }
}

/// The rows of a Parquet file.
fn table(path: &Path) -> String {
    let file = TableFile {
        path: path.to_owned(),
        rows: 0,
    };
    let batches = file.batches(None).expect("it is Parquet");
    batches.map(|batch| text(&batch.expect("it can be read"))).collect()
}

fn text(batch: &RecordBatch) -> String {
    let mut out = String::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        writeln!(out, "{}: {}", field.name(), values(column)).expect("a string");
    }
    out
}

fn values(column: &ArrayRef) -> String {
    match column.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let column = cast(column, &DataType::Float64).expect("a number");
            let numbers = column.as_primitive::<Float64Type>().iter();
            numbers
                .map(|x| x.map_or("-".to_owned(), |x| format!("{x:.4e}")))
                .collect::<Vec<_>>()
                .join(" ")
        }
        DataType::FixedSizeList(..) => {
            let inner = cast(column.as_fixed_size_list().values(), &DataType::Float64).expect("vectors of numbers");
            let sizes = inner.as_primitive::<Float64Type>().iter().flatten().map(f64::abs);
            format!("{} numbers, in all {:.2e}", inner.len(), sizes.sum::<f64>())
        }
        _ => {
            let format = FormatOptions::default().with_null("-");
            let formatter = ArrayFormatter::try_new(column, &format).expect("every type has a text");
            (0..column.len())
                .map(|row| formatter.value(row).to_string())
                .collect::<Vec<_>>()
                .join(" ")
        }
    }
}

/// Keys and documents of an embedded store.
fn documents(path: &Path) -> String {
    let database = redb::Database::open(path).expect("it is a store");
    let read = database.begin_read().expect("it can be read");
    let table = read.open_table(KEYS_TABLE).expect("it has the table");
    let entries = table
        .iter()
        .expect("it can be read")
        .map(|entry| entry.expect("it can be read"));
    entries
        .map(|(key, document)| format!("{} {}\n", key.value(), String::from_utf8_lossy(document.value())))
        .collect()
}

/// Names, shapes and sizes of tensors: the length of a header, the header in JSON, the numbers.
fn tensors(path: &Path) -> String {
    let bytes = fs::read(path).expect("it is there");
    let (length, rest) = bytes.split_first_chunk::<8>().expect("it has a header");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).expect("it is JSON");
    let tensor = |(name, tensor): (&String, &Value)| {
        let offset = |index: usize| tensor["data_offsets"][index].as_u64().expect("an offset") as usize;
        let numbers = data[offset(0)..offset(1)].chunks_exact(4);
        let sizes = numbers.map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])).abs());
        format!(
            "{name} {} {} {:.2e}\n",
            tensor["dtype"],
            tensor["shape"],
            sizes.sum::<f64>()
        )
    };
    header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(tensor)
        .collect()
}
