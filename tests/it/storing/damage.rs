//! A store that is damaged, full, read-only or used by several runs: never a wrong result, and the cause is reported.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::fixture::workspace::{Workspace, stderr, stdout};

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

/// The next run repairs the damage, reports it, and publishes the same bytes; the one after it has nothing to do.
fn repairs(workspace: &Workspace, bytes: &[u8], reported: &str) {
    fs::remove_dir_all(workspace.path().join("out")).expect("it is there");
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains(reported), "{reported}: {}", stderr(&output));
    assert_eq!(published(workspace), bytes, "{reported}");
    let again = workspace.towline(&["run", "p.yaml"]);
    assert!(stdout(&again).contains(" 0 ran, "), "{reported}: {}", stdout(&again));
}

#[test]
fn a_damaged_or_missing_blob_is_a_miss_and_is_reported() {
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
    for (reported, damage) in damages {
        let (workspace, bytes) = finished();
        let plan_before = stdout(&workspace.towline(&["plan", "p.yaml"]));
        assert!(plan_before.contains("\n0 of "), "{plan_before}");
        for path in blobs(&workspace) {
            damage(&path);
        }
        let plan = stdout(&workspace.towline(&["plan", "p.yaml"]));
        assert!(plan.contains(reported), "{plan}");
        repairs(&workspace, &bytes, reported);
    }
}

#[test]
fn an_entry_that_cannot_be_read_is_a_miss_and_is_reported() {
    let (workspace, bytes) = finished();
    for entry in fs::read_dir(workspace.path().join(".towline/entries")).expect("a store") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("it can be read");
        fs::write(&path, &text[..text.len() / 2]).expect("it can be written");
    }
    repairs(&workspace, &bytes, "is not readable");
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
fn a_file_in_the_place_of_a_folder_of_the_store_fails_the_run_and_leaves_the_store_intact() {
    let (workspace, bytes) = finished();
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

/// How to run a program that may mount file systems which only it sees, if the system permits it.
fn mounting() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--mount", "--map-root-user"]];
    ways.into_iter().find(|way| {
        let trial = Command::new(way[0])
            .args(&way[1..])
            .args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"])
            .stderr(Stdio::null())
            .status();
        trial.is_ok_and(|status| status.success())
    })
}

#[test]
fn a_full_file_system_fails_the_node_and_leaves_the_store_intact() {
    let Some(way) = mounting() else {
        println!("skipped: mounting a file system is not permitted here");
        return;
    };
    let (workspace, bytes) = finished();
    // A store on a file system of 16 MiB, of which another file leaves 64 KiB.
    let script = "set -e
        mkdir full
        mount -t tmpfs -o size=16m tmpfs full
        cp -a .towline/. full
        head -c 64m /dev/zero > full/filler 2> /dev/null || true
        truncate -s -65536 full/filler
        code=0
        \"$0\" run p.yaml --store full --set nodes.rows.with.rows=60000 > first 2>&1 || code=$?
        rm full/filler
        \"$0\" run p.yaml --store full > second 2>&1
        ls full/tmp > left
        exit $code";
    let output = Command::new(way[0])
        .args(&way[1..])
        .args(["sh", "-c", script])
        .arg(env!("CARGO_BIN_EXE_towline"))
        .current_dir(workspace.path())
        .output()
        .expect("it runs");
    let read = |name: &str| fs::read_to_string(workspace.path().join(name)).unwrap_or_default();
    let (first, second) = (read("first"), read("second"));
    assert_eq!(output.status.code(), Some(1), "{first}{second}{}", stderr(&output));
    assert!(first.contains("No space left on device"), "{first}");
    assert!(second.contains(" 0 ran, "), "{second}");
    assert_eq!(read("left"), "", "no unfinished file stays behind");
    assert_eq!(published(&workspace), bytes);
}

#[test]
fn a_store_without_write_permission_fails_the_run_with_advice_and_stays_intact() {
    let (workspace, bytes) = finished();
    let folders = |mode: u32| {
        for folder in ["", "tmp", "runs", "locks", "entries", "blobs", "nodes"] {
            let path = workspace.path().join(".towline").join(folder);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
    };
    // Modes do not bind the superuser, who runs the binary as another user instead.
    let is_superuser = fs::metadata(workspace.path()).expect("it is there").uid() == 0;
    let mut command = if is_superuser {
        fs::set_permissions(workspace.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let may = other.arg(env!("CARGO_BIN_EXE_towline")).arg("--version").output();
        if !may.is_ok_and(|output| output.status.success()) {
            println!("skipped: the binary cannot be run as another user here");
            return;
        }
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        other.arg(env!("CARGO_BIN_EXE_towline"));
        other
    } else {
        Command::new(env!("CARGO_BIN_EXE_towline"))
    };
    folders(0o555);
    let output = command
        .args(["run", "p.yaml", "--set", "nodes.rows.with.rows=3001"])
        .current_dir(workspace.path())
        .output()
        .expect("it runs");
    folders(0o755);
    let report = stdout(&output) + &stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("Permission denied"), "{report}");
    assert!(
        report.contains("Choose a folder that can be written with --store"),
        "{report}"
    );
    let again = workspace.towline(&["run", "p.yaml"]);
    assert!(stdout(&again).contains(" 0 ran, "), "{}", stdout(&again));
    assert_eq!(published(&workspace), bytes);
}

#[test]
fn a_limit_of_file_sizes_fails_the_node_and_leaves_the_store_intact() {
    let (workspace, bytes) = finished();
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
