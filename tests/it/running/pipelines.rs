//! Pipelines run end to end through the binary.

use std::collections::BTreeSet;
use std::path::Path;

use redb::{ReadOnlyDatabase, ReadableDatabase, ReadableTable, TableDefinition};

use crate::fixture::workspace::{Workspace, movielens, stderr, stdout};

const SEED: &str = include_str!("../../../pipelines/offline_batch_recsys.yaml");
const MOVIELENS: &str = include_str!("../../../pipelines/movielens.yaml");

fn published(path: &Path) -> Vec<(String, serde_json::Value)> {
    let database = ReadOnlyDatabase::open(path).expect("the embedded store opens");
    let read = database.begin_read().expect("it can be read");
    let definition: TableDefinition<&str, &[u8]> = TableDefinition::new("keys");
    let table = read.open_table(definition).expect("it has keys");
    table
        .iter()
        .expect("they can be listed")
        .map(|entry| {
            let (key, value) = entry.expect("each can be read");
            (
                key.value().to_owned(),
                serde_json::from_slice(value.value()).expect("each is JSON"),
            )
        })
        .collect()
}

/// Few rows, and enough training on them that the model is better than the baseline that is expected of it.
const SMALL: [&str; 6] = [
    "--set",
    "vars.rows=3000",
    "--set",
    "nodes.model.with.epochs=10",
    "--set",
    "nodes.model.with.batch_size=256",
];

#[test]
fn the_main_job_runs_and_an_unchanged_rerun_runs_nothing() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", SEED);
    let small = [&["run", "p.yaml"][..], &SMALL].concat();
    let output = workspace.towline(&small);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("popularity"), "{}", stdout(&output));

    let folder = workspace.path().join("output/offline-batch-recsys");
    for file in [
        "processed/train.parquet",
        "processed/valid.parquet",
        "user_features.parquet",
        "item_features.parquet",
        "query_embeddings.parquet",
        "item_embeddings.parquet",
        "recommendations.parquet",
        "model/weights.safetensors",
        "model/query_tower.pt",
        "model/model.json",
    ] {
        assert!(folder.join(file).is_file(), "{file} is missing");
    }
    let documents = published(&folder.join("recommendations.redb"));
    let keys: BTreeSet<&str> = documents.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys.len(), documents.len(), "every user is written once");
    for (key, document) in &documents {
        assert_eq!(
            *key,
            format!("USER:{}", document["user_id"]),
            "the key has the original id"
        );
        let items = document["recommendations"].as_array().expect("a list");
        let distinct: BTreeSet<String> = items.iter().map(ToString::to_string).collect();
        assert_eq!((items.len(), distinct.len()), (20, 20), "{key}");
    }

    let again = workspace.towline(&small);
    assert!(stdout(&again).contains(" 0 ran, "), "{}", stdout(&again));
    let plan = workspace.towline(&[&["plan", "p.yaml", "--check"][..], &SMALL].concat());
    assert_eq!(plan.status.code(), Some(0), "{}", stdout(&plan));

    let changed = ["plan", "p.yaml", "--check", "--set", "nodes.recommendations.with.k=10"];
    let plan = workspace.towline(&[&changed[..], &SMALL].concat());
    assert_eq!(plan.status.code(), Some(3), "{}", stdout(&plan));
    assert!(stdout(&plan).contains("with.k: 20 -> 10"), "{}", stdout(&plan));
    assert!(
        stdout(&plan).contains("\n3 of "),
        "the lists and their two sinks: {}",
        stdout(&plan)
    );
}

#[test]
fn a_sink_whose_file_is_gone_runs_again() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: 1000 } }\n  out: { op: ParquetExport, input: rows, with: { path: out } }\n",
    );
    assert_eq!(workspace.towline(&["run", "p.yaml"]).status.code(), Some(0));
    std::fs::remove_file(workspace.path().join("out/train.parquet")).expect("it was written");
    let again = workspace.towline(&["run", "p.yaml"]);
    assert!(stdout(&again).contains(" 1 ran, 1 reused"), "{}", stdout(&again));
    assert!(workspace.path().join("out/train.parquet").is_file());
}

#[test]
fn a_failing_node_stops_only_what_depends_on_it() {
    let workspace = Workspace::new();
    workspace.write("blocked", "a file where a folder should be");
    workspace.write(
        "p.yaml",
        "version: 1\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: 1000 } }\n  bad: { op: ParquetExport, input: rows, with: { path: blocked/out } }\n  behind: { op: ParquetExport, input: rows, after: [bad], with: { path: behind } }\n  good: { op: ParquetExport, input: rows, with: { path: good } }\n",
    );
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(
        stdout(&output).contains("2 ran, 0 reused, 0 fused, 1 failed, 1 skipped"),
        "{}",
        stdout(&output)
    );
    assert!(workspace.path().join("good/train.parquet").is_file());
    assert!(!workspace.path().join("behind").exists());
}

#[test]
fn a_file_that_is_not_parquet_and_a_store_that_cannot_be_made_are_told() {
    let workspace = Workspace::new();
    workspace.write("data.parquet", "this is not Parquet");
    workspace.write(
        "p.yaml",
        "version: 1\nnodes:\n  rows: { op: ParquetSource, with: { path: data.parquet } }\n",
    );
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("data.parquet"), "{}", stderr(&output));
    workspace.write(
        "q.yaml",
        "version: 1\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: 10 } }\n",
    );
    let output = workspace.towline(&["run", "q.yaml", "--store", "data.parquet/store"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the store cannot use"), "{}", stderr(&output));
}

#[test]
#[cfg_attr(
    not(movielens),
    ignore = "MovieLens is neither at ../shared/data nor where TOWLINE_DATA says"
)]
fn movielens_goes_from_csv_to_titles() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", MOVIELENS);
    let data = format!("vars.data={}", movielens().display());
    let settings = ["--set", &data, "--set", "vars.epochs=1"];
    let output = workspace.towline(&[&["run", "p.yaml"], &settings[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let show = workspace.towline(&[&["show", "p.yaml", "titled"], &settings[..]].concat());
    assert!(
        stdout(&show).contains("title") && stdout(&show).contains("(19"),
        "{}",
        stdout(&show)
    );
}
