//! A store that was damaged, or that others use at the same time: never a wrong answer, and what happened is told.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::workspace::{Workspace, stderr, stdout};

const PIPELINE: &str = "\
version: 1
name: damage
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: 3000 } }
  few: { op: Filter, input: rows, with: { where: click = 1 } }
  user: few[user_id] >> Categorify >> TagAsUserID
  file: { op: ParquetExport, input: user, with: { path: out } }
";

fn finished() -> (Workspace, Vec<u8>) {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let bytes = published(&workspace);
    (workspace, bytes)
}

fn published(workspace: &Workspace) -> Vec<u8> {
    fs::read(workspace.path().join("out/train.parquet")).expect("it was published")
}

fn blobs(workspace: &Workspace) -> Vec<PathBuf> {
    let folders = fs::read_dir(workspace.path().join(".towline/blobs")).expect("a store");
    let mut blobs: Vec<PathBuf> = folders
        .flat_map(|folder| fs::read_dir(folder.expect("a folder").path()).expect("it can be listed"))
        .map(|blob| blob.expect("a blob").path())
        .collect();
    blobs.sort();
    blobs
}

/// Writes other bytes into a blob; blobs are read-only, so as not to be changed by accident.
fn overwrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("it can be read");
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    fs::write(path, bytes).expect("it can be written");
}

/// The next run mends the damage, tells it, and publishes the same bytes; the one after it has nothing to do.
fn mends(workspace: &Workspace, bytes: &[u8], told: &str) {
    fs::remove_dir_all(workspace.path().join("out")).expect("it is there");
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains(told), "{told}: {}", stderr(&output));
    assert_eq!(published(workspace), bytes, "{told}");
    let again = workspace.towline(&["run", "p.yaml"]);
    assert!(stdout(&again).contains(" 0 ran, "), "{told}: {}", stdout(&again));
}

#[test]
fn a_damaged_or_missing_blob_is_a_miss_and_is_told() {
    let damages: [(&str, fn(&Path)); 3] = [
        ("artifact missing", |path| fs::remove_file(path).expect("it is there")),
        ("artifact damaged", |path| {
            overwrite(path, |bytes| bytes.truncate(bytes.len() / 2));
        }),
        ("artifact damaged", |path| {
            overwrite(path, |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
            });
        }),
    ];
    for (told, damage) in damages {
        let (workspace, bytes) = finished();
        let plan_before = stdout(&workspace.towline(&["plan", "p.yaml"]));
        assert!(plan_before.contains("\n0 of "), "{plan_before}");
        for path in blobs(&workspace) {
            damage(&path);
        }
        let plan = stdout(&workspace.towline(&["plan", "p.yaml"]));
        assert!(plan.contains(told), "{plan}");
        mends(&workspace, &bytes, told);
    }
}

#[test]
fn an_entry_that_cannot_be_read_is_a_miss_and_is_told() {
    let (workspace, bytes) = finished();
    for entry in fs::read_dir(workspace.path().join(".towline/entries")).expect("a store") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("it can be read");
        fs::write(&path, &text[..text.len() / 2]).expect("it can be written");
    }
    mends(&workspace, &bytes, "is not readable");
}

#[test]
fn a_blob_that_was_copied_is_read_once_and_is_whole() {
    let (workspace, _) = finished();
    for path in blobs(&workspace) {
        let copy = path.with_extension("copy");
        fs::copy(&path, &copy).expect("it can be copied");
        fs::rename(&copy, &path).expect("it can be renamed");
    }
    let again = workspace.towline(&["run", "p.yaml"]);
    assert!(stdout(&again).contains(" 0 ran, "), "{}", stdout(&again));
}

#[test]
fn a_store_without_space_or_rights_fails_with_advice_and_keeps_what_it_had() {
    let (workspace, bytes) = finished();
    // A folder where files belong stands for every error of a disk that the store cannot get around.
    let tmp = workspace.path().join(".towline/tmp");
    fs::remove_dir_all(&tmp).expect("it is there");
    fs::write(&tmp, "").expect("it can be written");
    let output = workspace.towline(&["run", "p.yaml", "--set", "nodes.rows.with.rows=3001"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(
        stdout(&output).contains("the store cannot use") || stderr(&output).contains("the store cannot use"),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    fs::remove_file(&tmp).expect("it is there");
    let again = workspace.towline(&["run", "p.yaml"]);
    assert!(stdout(&again).contains(" 0 ran, "), "{}", stdout(&again));
    assert_eq!(published(&workspace), bytes);
}

#[test]
fn a_full_disk_fails_the_node_and_leaves_the_store_whole() {
    let (workspace, bytes) = finished();
    // The limit of a process's file sizes gives the error that a full disk gives, at the same calls.
    let limited = Command::new("sh")
        .args([
            "-c",
            "ulimit -f 4; trap '' XFSZ; exec \"$0\" run p.yaml --set nodes.rows.with.rows=30000",
        ])
        .arg(env!("CARGO_BIN_EXE_towline"))
        .current_dir(workspace.path())
        .output()
        .expect("it runs");
    assert_eq!(
        limited.status.code(),
        Some(1),
        "{}{}",
        stdout(&limited),
        stderr(&limited)
    );
    assert!(stdout(&limited).contains("File too large"), "{}", stdout(&limited));
    assert!(workspace.leftovers().is_empty(), "{:?}", workspace.leftovers());
    let again = workspace.towline(&["run", "p.yaml"]);
    assert!(stdout(&again).contains(" 0 ran, "), "{}", stdout(&again));
    assert_eq!(published(&workspace), bytes);
    let more = workspace.towline(&["run", "p.yaml", "--set", "nodes.rows.with.rows=30000"]);
    assert_eq!(more.status.code(), Some(0), "{}", stderr(&more));
}

#[test]
fn a_clock_that_is_set_back_changes_nothing() {
    let (workspace, bytes) = finished();
    // As if everything had been made in an hour that is yet to come.
    let later = SystemTime::now() + Duration::from_hours(1);
    for path in blobs(&workspace) {
        File::open(&path)
            .and_then(|file| file.set_modified(later))
            .expect("it is ours");
    }
    let runs = workspace.path().join(".towline/runs");
    let old = fs::read_dir(&runs)
        .expect("a store")
        .next()
        .expect("a run")
        .expect("a run")
        .path();
    fs::rename(&old, runs.join("9999999999999990.json")).expect("it can be renamed");
    let again = workspace.towline(&["run", "p.yaml"]);
    assert!(stdout(&again).contains(" 0 ran, "), "{}", stdout(&again));
    assert!(runs.join("9999999999999991.json").is_file(), "the last run is the last");
    assert_eq!(published(&workspace), bytes);
}

#[test]
fn a_source_that_changes_while_it_is_read_is_an_error() {
    let workspace = Workspace::new();
    let rows: String = (0..200_000).map(|row| format!("{row},{}\n", row % 97)).collect();
    workspace.write("rows.csv", &format!("a,b\n{rows}"));
    workspace.write(
        "p.yaml",
        "version: 1\nnodes:\n  rows: { op: CsvSource, with: { path: rows.csv } }\n  few: { op: Filter, input: rows, with: { where: b = 1 } }\n",
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_towline"))
        .args(["run", "p.yaml"])
        .current_dir(workspace.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let path = workspace.path().join("rows.csv");
    while child.try_wait().expect("it can be asked").is_none() {
        let now = SystemTime::now();
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(now))
            .expect("it is ours");
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().expect("it ended");
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(
        stdout(&output).contains("changed while it was read"),
        "{}",
        stdout(&output)
    );
    let after = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(after.status.code(), Some(0), "{}", stderr(&after));
}

#[test]
fn two_runs_at_once_make_each_thing_once_and_come_to_the_same() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", &PIPELINE.replace("rows: 3000", "rows: 60000"));
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_towline"))
            .args(["run", "p.yaml"])
            .current_dir(workspace.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs")
    };
    let runs = [start(), start(), start()].map(|child| child.wait_with_output().expect("it ends"));
    for output in &runs {
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(output), stderr(output));
    }
    let mut makers = std::collections::BTreeMap::<String, usize>::new();
    for record in workspace.records() {
        for node in record
            .nodes
            .iter()
            .filter(|node| node.status == towline::run::NodeStatus::Ran)
        {
            *makers.entry(node.name.clone()).or_default() += 1;
        }
    }
    assert!(makers.values().all(|&runs| runs == 1), "{makers:?}");
    assert_eq!(makers.len(), 5, "{makers:?}");
    let locks = fs::read_dir(workspace.path().join(".towline/locks"))
        .expect("a store")
        .count();
    assert_eq!(locks, 0, "no lock stays behind");
}
