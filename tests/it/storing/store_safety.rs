//! What a store must never do to what is not its own, and what must not get lost in it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::fixture::workspace::{Workspace, stderr, stdout};

const PIPELINE: &str = "\
version: 1
name: safety
vars: { n: 1, path: rows.csv }
nodes:
  rows: { op: CsvSource, with: { path: \"${vars.path}\" } }
  few: { op: Filter, input: rows, with: { where: \"user >= ${vars.n}\" } }
  parted: { op: Split, input: few, with: { fraction: { train: 0.5, valid: 0.5 }, seed: 1 } }
  file: { op: ParquetExport, input: parted, with: { path: out } }
";

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let rows: String = (0..400).map(|row| format!("{},{row}\n", row % 9)).collect();
    workspace.write("rows.csv", &format!("user,item\n{rows}"));
    workspace.write("p.yaml", PIPELINE);
    workspace
}

fn run(workspace: &Workspace, arguments: &[&str]) -> String {
    let output = workspace.towline(&[&["run", "p.yaml"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

#[test]
fn a_folder_with_other_files_is_no_store_and_stays_as_it_is() {
    let workspace = workspace();
    for folder in ["tmp", "locks", "blobs"] {
        fs::create_dir_all(workspace.path().join("mine").join(folder)).expect("a folder");
        workspace.write(&format!("mine/{folder}/notes.txt"), "mine");
    }
    let before = workspace.files_below("mine").len();
    for arguments in [
        vec!["run", "p.yaml", "--store", "mine"],
        vec!["cache", "gc", "--store", "mine"],
        vec!["cache", "size", "--store", "mine"],
        vec!["history", "--store", "mine"],
    ] {
        let output = workspace.towline(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains("store"), "{}", stderr(&output));
        assert_eq!(workspace.files_below("mine").len(), before, "{arguments:?}");
    }
    run(&workspace, &["--store", "new"]);
    let tag = fs::read_to_string(workspace.path().join("new/CACHEDIR.TAG")).expect("a tag");
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
    // Stores that were made before they were marked are taken for what they are.
    fs::remove_file(workspace.path().join("new/CACHEDIR.TAG")).expect("it is ours");
    assert!(run(&workspace, &["--store", "new"]).contains(" 0 ran, "));
}

#[test]
fn where_a_source_lies_does_not_count() {
    let workspace = workspace();
    run(&workspace, &[]);
    fs::create_dir(workspace.path().join("data")).expect("a folder");
    fs::rename(
        workspace.path().join("rows.csv"),
        workspace.path().join("data/other.csv"),
    )
    .expect("a file");
    let moved = workspace.path().join("data/other.csv");
    let setting = format!("vars.path={}", moved.display());
    assert!(run(&workspace, &["--set", &setting]).contains(" 0 ran, "));
}

#[test]
fn two_runs_that_publish_to_one_place_leave_the_files_of_one() {
    let workspace = workspace();
    let start = |n: u32| {
        Command::new(env!("CARGO_BIN_EXE_towline"))
            .args(["run", "p.yaml", "-q", "--set", &format!("vars.n={n}")])
            .current_dir(workspace.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary runs")
    };
    for round in 0..3 {
        let running = [1, 2, 3].map(|n| start(n + 3 * (round % 2)));
        for mut child in running {
            assert!(child.wait().expect("it ends").success());
        }
    }
    // Whatever was last: a run that says that its files are there finds its own.
    for n in 1..=6 {
        run(&workspace, &["--set", &format!("vars.n={n}")]);
        let digest = |split: &str| {
            blake3::hash(&fs::read(workspace.path().join(format!("out/{split}.parquet"))).expect("a file"))
        };
        let found = ["train", "valid"].map(digest);
        run(&workspace, &["--set", &format!("vars.n={n}"), "--no-cache"]);
        assert_eq!(found, ["train", "valid"].map(digest), "n = {n}");
    }
}

#[test]
fn what_a_run_has_reused_is_as_young_as_that_run() {
    let workspace = workspace();
    run(&workspace, &[]);
    let old = SystemTime::now() - Duration::from_hours(40 * 24);
    for path in workspace.files_below(".towline/entries") {
        let file = fs::File::options().write(true).open(&path).expect("an entry");
        file.set_modified(old).expect("its time can be set");
    }
    run(&workspace, &[]);
    let gone = workspace.towline(&["cache", "gc", "--keep-runs", "0"]);
    assert!(stdout(&gone).contains("removed: 0 entries"), "{}", stdout(&gone));
}

#[test]
fn runs_about_some_nodes_do_not_push_out_what_a_whole_run_stands_on() {
    let workspace = workspace();
    run(&workspace, &[]);
    for n in 2..6 {
        run(&workspace, &["--set", &format!("vars.n={n}"), "--select", "few"]);
    }
    workspace.towline(&["cache", "gc", "--keep-runs", "1", "--max-age", "0", "--max-size", "0"]);
    let plan = workspace.towline(&["plan", "p.yaml", "--check"]);
    assert_eq!(plan.status.code(), Some(0), "{}", stdout(&plan));
}

#[test]
fn a_collection_comes_by_itself_and_removes_what_is_no_entry() {
    let workspace = workspace();
    run(&workspace, &[]);
    workspace.write(".towline/entries/broken.json", "{");
    run(&workspace, &[]);
    let broken = workspace.path().join(".towline/entries/broken.json");
    assert!(broken.exists(), "a second collection on one day would be one too many");
    fs::remove_file(workspace.path().join(".towline/collected")).expect("the first run has collected");
    run(&workspace, &[]);
    assert!(!broken.exists());
}

#[test]
fn entries_that_are_torn_are_found() {
    let workspace = workspace();
    run(&workspace, &[]);
    workspace.write(".towline/entries/broken.json", "{");
    let blob = workspace.files_below(".towline/blobs").pop().expect("a blob");
    fs::remove_file(blob).expect("it is ours");
    let verified = workspace.towline(&["cache", "verify"]);
    assert_eq!(verified.status.code(), Some(3), "{}", stdout(&verified));
    assert!(
        stdout(&verified).contains("entries/broken.json"),
        "{}",
        stdout(&verified)
    );
    assert!(stdout(&verified).contains(", 2 damaged"), "{}", stdout(&verified));
    run(&workspace, &[]);
    let verified = workspace.towline(&["cache", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
}

#[test]
fn every_run_leaves_a_record_even_if_the_clock_was_set_back() {
    let workspace = workspace();
    run(&workspace, &[]);
    let record = workspace.files_below(".towline/runs").pop().expect("a record");
    fs::rename(&record, record.with_file_name("9000000000000000.json")).expect("it is ours");
    let children: Vec<_> = (0..4)
        .map(|_| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_towline"));
            command
                .args(["run", "p.yaml", "-q"])
                .current_dir(workspace.path())
                .stdout(Stdio::null());
            command.spawn().expect("the binary runs")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!(workspace.records().len(), 5);
}

#[test]
fn a_forced_step_of_a_plan_runs_with_the_plan() {
    let workspace = workspace();
    run(&workspace, &[]);
    let forced = run(&workspace, &["--force", "few"]);
    assert!(!forced.contains(" 0 ran, "), "{forced}");
}

#[test]
fn a_limit_of_time_is_of_its_node_alone() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: 20000 } }\n  a: { op: Categorify, input: \"rows[user_id]\", timeout: 0.001s }\n  b: { op: Categorify, input: \"rows[item_id]\" }\n",
    );
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let record = workspace.records().pop().expect("a run");
    let status = |name: &str| {
        record
            .nodes
            .iter()
            .find(|node| node.name == name)
            .map(|node| node.status.word())
    };
    assert_eq!((status("a"), status("b")), (Some("failed"), Some("ran")));
}

#[test]
fn what_is_another_value_in_each_run_is_refused() {
    let workspace = workspace();
    for (op, with, name) in [
        ("Filter", "where: item < random() * 9", "random"),
        ("Sql", "query: \"SELECT user, now() AS t FROM rows\"", "now"),
        (
            "Sql",
            "query: SELECT user FROM rows WHERE to_timestamp(item) < current_timestamp",
            "now",
        ),
    ] {
        workspace.write(
            "p.yaml",
            &format!("version: 1\nnodes:\n  rows: {{ op: CsvSource, with: {{ path: rows.csv }} }}\n  x: {{ op: {op}, inputs: [rows], with: {{ {with} }} }}\n"),
        );
        let output = workspace.towline(&["validate", "p.yaml"]);
        let report = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{report}");
        assert!(report.contains(&format!("`{name}()` is volatile")), "{report}");
    }
}

#[test]
fn a_plan_names_what_has_changed_behind_what_would_run() {
    let workspace = workspace();
    run(&workspace, &[]);
    let changed = PIPELINE.replace("seed: 1", "seed: 2");
    workspace.write("p.yaml", &changed);
    let plan = workspace.towline(&["plan", "p.yaml", "--set", "vars.n=3"]);
    let plan = stdout(&plan);
    assert!(
        plan.contains("with.where: ") && plan.contains("with.seed: 1 -> 2"),
        "{plan}"
    );
    assert!(plan.contains("user: Int64"), "{plan}");
}

#[test]
fn who_reads_only_the_beginning_is_no_defect() {
    let workspace = workspace();
    run(&workspace, &[]);
    let binary = env!("CARGO_BIN_EXE_towline");
    let script = format!("'{binary}' ops --format md | head -1");
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(workspace.path())
        .output()
        .expect("a shell");
    assert_eq!(stderr(&output), "");
    assert!(stdout(&output).lines().count() == 1);
}

#[test]
fn what_a_program_has_started_ends_with_the_run() {
    let workspace = workspace();
    workspace.write(
        "p.yaml",
        "version: 1\nnodes:\n  rows: { op: CsvSource, with: { path: rows.csv } }\n  x: { op: Command, inputs: { rows: rows }, with: { command: [sh, -c, \"sleep 61 & echo $! > child; echo $$ > own; sleep 60\"], schema: { user: int64 } } }\n",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_towline"));
    command.args(["run", "p.yaml", "-q"]).current_dir(workspace.path());
    let mut running = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let until = |what: &dyn Fn() -> bool| {
        (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(25));
            what()
        })
    };
    let id = |name: &str| {
        fs::read_to_string(workspace.path().join(name))
            .ok()
            .filter(|id| id.ends_with('\n'))
    };
    assert!(until(&|| id("child").is_some() && id("own").is_some()));
    let stop = Command::new("sh")
        .args(["-c", &format!("kill -TERM {}", running.id())])
        .status();
    assert!(stop.expect("a shell").success());
    assert_eq!(running.wait().expect("it ends").code(), Some(130));
    let gone = |name: &str| {
        let state = fs::read_to_string(format!("/proc/{}/stat", id(name).unwrap_or_default().trim()));
        state.map_or(true, |state| state.contains(") Z "))
    };
    assert!(until(&|| gone("child") && gone("own")));
}

#[test]
fn a_secret_in_an_environment_variable_is_in_no_store_in_a_form_that_can_be_guessed() {
    let workspace = Workspace::new();
    workspace.write("rows.csv", "user,item\n1,2\n");
    workspace.write(
        "copy.sh",
        "cp \"$TOWLINE_INPUT\"/rows/train.arrow \"$TOWLINE_OUTPUT\"\n",
    );
    let shared = workspace.path().join("shared");
    workspace.write(
        "p.yaml",
        &format!(
            "version: 1
store: file://{}
nodes:
  rows: {{ op: CsvSource, with: {{ path: rows.csv }} }}
  copy:
    op: Command
    inputs: {{ rows: rows }}
    with: {{ command: [sh, copy.sh], format: arrow, environment: [TOKEN], schema: {{ user: int64 }} }}
",
            shared.display()
        ),
    );
    let run = |token: &str| {
        let output = workspace.towline_with(&["run", "p.yaml"], &[("TOKEN", token)]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        stdout(&output)
    };
    run("hunter2");
    assert!(run("hunter2").contains(" 0 ran, "), "an equal value is known again");
    let digest = blake3::hash(serde_json::json!("hunter2").to_string().as_bytes()).to_hex();
    let key = std::fs::read(workspace.path().join(".towline/secret.key")).expect("the store has a key");
    assert_eq!(key.len(), 32);
    let mut files = 0;
    for folder in [".towline", "shared"] {
        for path in workspace.files_below(folder) {
            let bytes = std::fs::read(&path).expect("it can be read");
            let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            assert!(!has(b"hunter2") && !has(digest.as_bytes()), "{}", path.display());
            assert!(path.ends_with("secret.key") || !has(&key), "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 10, "{files}");
    let plan = workspace.towline_with(&["plan", "p.yaml"], &[("TOKEN", "hunter3")]);
    assert!(
        stdout(&plan).contains("the environment variable TOKEN: other content"),
        "{}",
        stdout(&plan)
    );
}
