//! A store that is shared with others: what one machine has made, another need not make.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use towline::run::NodeStatus;

use crate::fixture::s3_server::{self, Objects};
use crate::fixture::workspace::{Workspace, stderr, stdout};

const PIPELINE: &str = "\
version: 1
name: sharing
vars: { rows: 1000 }
store: ${env.SHARED:-}
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: \"${vars.rows}\" } }
  few: { op: Filter, input: rows, with: { where: click = 1 } }
  user: few[user_id] >> Categorify >> TagAsUserID
  item: few[item_id] >> Categorify >> TagAsItemID
  features: user + item
  model: { op: TwoTowerTrain, input: features, with: { layers: [4], batch_size: 64, epochs: 1 } }
  quality: { op: Evaluate, inputs: { model: model, data: features }, with: { k: [3], bootstrap: 0 } }
  file: { op: ParquetExport, input: features, with: { path: out } }
";
/// What is made anew on every machine: what a sink publishes is a fact about a place.
const SINKS: [&str; 1] = ["file"];

/// Machines that share a folder.
struct Team {
    folder: Workspace,
}

impl Team {
    fn new() -> Self {
        Team {
            folder: Workspace::new(),
        }
    }

    fn address(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }

    fn machine(&self) -> Machine {
        Machine::with(&[("SHARED", &self.address())])
    }

    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let mut files = self.folder.files_below(kind);
        files.sort();
        files
    }
}

struct Machine {
    place: Workspace,
    environment: Vec<(String, String)>,
}

impl Machine {
    fn with(environment: &[(&str, &str)]) -> Self {
        let place = Workspace::new();
        place.write("p.yaml", PIPELINE);
        let own = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Machine {
            place,
            environment: own.collect(),
        }
    }

    fn towline(&self, arguments: &[&str]) -> Output {
        let environment: Vec<(&str, &str)> = self.environment.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        self.place.towline_with(arguments, &environment)
    }

    /// A run that succeeds; what it says of itself on standard error.
    fn run(&self) -> String {
        let output = self.towline(&["run", "p.yaml"]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        stderr(&output)
    }

    /// The nodes that ran in the last run.
    fn ran(&self) -> BTreeSet<String> {
        let nodes = self.place.records().pop().expect("a run").nodes;
        let ran = nodes.into_iter().filter(|node| node.status == NodeStatus::Ran);
        ran.map(|node| node.name).collect()
    }

    fn published(&self) -> Vec<u8> {
        fs::read(self.place.path().join("out/train.parquet")).expect("it was published")
    }
}

fn sinks() -> BTreeSet<String> {
    SINKS.iter().map(|&name| name.to_owned()).collect()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("it can be read");
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    fs::write(path, bytes).expect("it can be written");
}

#[test]
fn what_one_machine_has_made_another_takes_and_then_has() {
    let team = Team::new();
    let first = team.machine();
    first.run();
    assert!(first.ran().len() > 5);

    let second = team.machine();
    let plan = stdout(&second.towline(&["plan", "p.yaml"]));
    assert!(plan.contains("\n1 of "), "{plan}");
    assert!(plan.contains("from the shared store"), "{plan}");
    let blobs = second.place.path().join(".towline/entries");
    assert_eq!(
        fs::read_dir(blobs).expect("a store").count(),
        0,
        "a plan brings no entry"
    );
    second.run();
    assert_eq!(second.ran(), sinks());
    assert_eq!(second.published(), first.published());
    let record = second.place.records().pop().expect("a run");
    let model = record
        .nodes
        .iter()
        .find(|node| node.name == "model")
        .expect("it is there");
    assert_eq!(
        (model.status, model.reason.as_str()),
        (NodeStatus::Reused, "from the shared store")
    );
    assert!(model.metrics.contains_key("loss"), "with what it says of itself");

    // From now on it needs nobody.
    let alone = second.place.towline(&["run", "p.yaml"]);
    assert!(stdout(&alone).contains(" 0 ran, "), "{}", stdout(&alone));
    let shown = second.place.towline(&["show", "p.yaml", "features"]);
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
}

#[test]
fn the_address_on_the_command_line_is_taken_before_that_of_the_pipeline() {
    let (one, other) = (Team::new(), Team::new());
    let machine = one.machine();
    let address = other.address();
    let output = machine.towline(&["run", "p.yaml", "--store", "here", "--store", &address]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(machine.place.path().join("here/entries").is_dir());
    assert!(!other.files("entries").is_empty());
    assert_eq!(fs::read_dir(one.folder.path()).expect("a folder").count(), 0);
}

#[test]
fn what_was_made_before_is_given_as_well_and_only_once() {
    let team = Team::new();
    let first = Machine::with(&[]);
    first.run();
    let address = team.address();
    let shared = || {
        let output = first.towline(&["run", "p.yaml", "--store", &address]);
        assert!(stdout(&output).contains(" 0 ran, "), "{}", stdout(&output));
    };
    shared();
    let entries = team.files("entries");
    assert!(!entries.is_empty());
    let second = team.machine();
    second.run();
    assert_eq!(second.ran(), sinks());
    // What is known to be there is not asked for again.
    fs::remove_file(&entries[0]).expect("it is there");
    shared();
    assert_eq!(team.files("entries").len(), entries.len() - 1);
}

#[test]
fn damage_in_the_shared_store_is_told_and_made_again_and_mended() {
    let damages: [(&str, fn(&Path)); 3] = [
        ("artifact missing: blobs/", |path| {
            fs::remove_file(path).expect("it is there");
        }),
        ("artifact damaged: blobs/", |path| {
            change(path, |bytes| bytes.truncate(bytes.len() / 2));
        }),
        ("has other content", |path| change(path, |bytes| bytes[20] ^= 4)),
    ];
    for (told, damage) in damages {
        let team = Team::new();
        let first = team.machine();
        first.run();
        for path in team.files("blobs") {
            damage(&path);
        }
        let second = team.machine();
        let log = second.run();
        assert!(log.contains(told) && log.contains("it is made again"), "{told}: {log}");
        assert_eq!(second.published(), first.published(), "{told}");
        let third = team.machine();
        let log = third.run();
        assert!(!log.contains("artifact"), "{log}");
        assert_eq!(third.ran(), sinks(), "{told}: what was damaged is whole again");
    }
}

#[test]
fn an_entry_that_cannot_be_read_or_leads_elsewhere_is_a_miss() {
    for (told, damage) in [
        ("is not readable", "{ \"key\": "),
        ("is the entry of something else", ""),
        ("it names a blob that cannot exist", "../../"),
    ] {
        let team = Team::new();
        let first = team.machine();
        first.run();
        let entries = team.files("entries");
        for path in &entries {
            let text = fs::read_to_string(path).expect("it can be read");
            let mut entry: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            let text = match damage {
                "" => text.replace(&entry["key"].as_str().expect("a key")[..8], "00000000"),
                "../../" => {
                    for split in entry["content"]["splits"].as_array_mut().into_iter().flatten() {
                        split["blob"]["digest"] = "../../../etc/passwd".into();
                    }
                    entry.to_string()
                }
                other => other.to_owned(),
            };
            fs::write(path, text).expect("it can be written");
        }
        let second = team.machine();
        let log = second.run();
        assert!(log.contains(told), "{told}: {log}");
        assert_eq!(second.published(), first.published(), "{told}");
    }
}

#[test]
fn a_store_that_cannot_be_reached_is_told_once_and_the_run_goes_on() {
    let cases = [
        ("file:///proc/nowhere/store", vec![]),
        (
            "s3://bucket/prefix",
            vec![
                ("AWS_ENDPOINT", "http://127.0.0.1:1"),
                ("AWS_ALLOW_HTTP", "true"),
                ("AWS_ACCESS_KEY_ID", "THE_KEY"),
                ("AWS_SECRET_ACCESS_KEY", "THE_SECRET"),
            ],
        ),
    ];
    for (address, environment) in cases {
        let machine = Machine::with(&[vec![("SHARED", address)], environment].concat());
        let log = machine.run();
        let told = format!("the run goes on without the shared store {address}");
        assert_eq!(log.matches(&told).count(), 1, "{log}");
        assert!(!log.contains("THE_SECRET"), "{log}");
        assert!(machine.ran().contains("model"));
    }
}

#[test]
fn over_s3_with_credentials_from_the_environment_that_are_written_nowhere() {
    let objects = Objects::default();
    let endpoint = s3_server::start(&objects);
    let environment = [
        ("SHARED", "s3://bucket/team"),
        ("AWS_ENDPOINT", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "THE_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "THE_SECRET"),
    ];
    let first = Machine::with(&environment);
    first.run();
    let paths: Vec<String> = objects.lock().expect("the server is well").keys().cloned().collect();
    assert!(paths.iter().all(|path| path.starts_with("/bucket/team/")), "{paths:?}");
    for kind in ["blobs", "why", "entries"] {
        assert!(paths.iter().any(|path| path.contains(kind)), "{kind}: {paths:?}");
    }
    let second = Machine::with(&environment);
    second.run();
    assert_eq!(second.ran(), sinks());
    assert_eq!(second.published(), first.published());
    let stored: Vec<Vec<u8>> = objects.lock().expect("the server is well").values().cloned().collect();
    let mut texts: Vec<String> = stored
        .iter()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect();
    texts.extend(second.place.texts_below(""));
    assert!(
        texts
            .iter()
            .all(|text| !text.contains("THE_SECRET") && !text.contains("THE_KEY"))
    );

    // Others may read and not write: the run says so once, and is as good as any.
    let wrong = Machine::with(
        &[
            &environment[..3],
            &[("AWS_ACCESS_KEY_ID", "X"), ("AWS_SECRET_ACCESS_KEY", "Y")],
        ]
        .concat(),
    );
    let log = wrong.run();
    assert_eq!(
        log.matches("the run goes on without the shared store").count(),
        1,
        "{log}"
    );
}

#[test]
fn an_address_that_is_none_is_found_before_anything_runs() {
    let machine = Machine::with(&[]);
    for (address, told) in [
        ("here", "not the address of a shared store"),
        ("ftp://host/x", "`ftp://` is not the address"),
        ("s3://key:word@bucket/x", "credentials"),
    ] {
        machine
            .place
            .write("p.yaml", &PIPELINE.replace("${env.SHARED:-}", address));
        let output = machine.towline(&["validate", "p.yaml"]);
        assert_eq!(output.status.code(), Some(2), "{address}");
        let text = stdout(&output) + &stderr(&output);
        assert!(text.contains(told) && text.contains("out-of-range"), "{text}");
    }
    machine.place.write("p.yaml", PIPELINE);
    let output = machine.towline(&["plan", "p.yaml", "--store", "ftp://host/x"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let output = machine.towline(&["history", "--store", "s3://bucket/x"]);
    assert!(
        stderr(&output).contains("the store of this machine only"),
        "{}",
        stderr(&output)
    );
}
