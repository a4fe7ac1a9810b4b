//! Ctrl-C, and the end of a process in the middle of a run.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::fixture::workspace::{Workspace, stderr, stdout};

/// Training that would go on for hours.
const PIPELINE: &str = "\
version: 1
vars: { epochs: 1_000_000 }
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: 2000 } }
  user: rows[user_id] >> Categorify >> TagAsUserID
  item: rows[item_id] >> Categorify >> TagAsItemID
  features: user + item
  model: { op: TwoTowerTrain, input: features, with: { layers: [8], batch_size: 256, epochs: \"${vars.epochs}\" } }
  out: { op: ModelExport, input: model, with: { path: out } }
";

/// A run that has come to its first epoch.
fn training(workspace: &Workspace) -> Child {
    training_to(workspace, "epoch 1/")
}

/// A run that has said this.
fn training_to(workspace: &Workspace, said: &str) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_towline"))
        .args(["run", "p.yaml"])
        .current_dir(workspace.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let mut lines = lines.map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains(said)), "training begins");
    // Somebody must go on reading, or the run would wait for its terminal.
    std::thread::spawn(move || lines.count());
    child
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.expect("kill is there").success());
}

fn reruns_from_what_is_stored(workspace: &Workspace) {
    let output = workspace.towline(&["run", "p.yaml", "--set", "vars.epochs=1"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(!stderr(&output).contains("ran     rows"), "{}", stderr(&output));
    assert!(workspace.path().join("out/model.json").is_file());
}

#[test]
fn ctrl_c_and_sigterm_stop_a_run_and_keep_what_is_finished() {
    for signal in ["-INT", "-TERM"] {
        let workspace = Workspace::new();
        workspace.write("p.yaml", PIPELINE);
        let child = training(&workspace);
        send(signal, &child);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{}", stdout(&output));
        assert!(
            stdout(&output).contains("interrupted") || stdout(&output).contains("skipped"),
            "{}",
            stdout(&output)
        );
        assert!(!workspace.path().join("out").exists());
        assert!(workspace.leftovers().is_empty(), "{:?}", workspace.leftovers());
        reruns_from_what_is_stored(&workspace);
    }
}

/// Training with all that a later epoch depends on: moments, draws, the best epoch so far.
const EPOCHS: &str = "\
version: 1
vars: { epochs: 30 }
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: 20000, structure: 0.5 } }
  user: rows[user_id] >> Categorify >> TagAsUserID
  item: rows[item_id] >> Categorify >> TagAsItemID
  features: user + item
  model:
    op: TwoTowerTrain
    input: features
    with:
      layers: [8]
      batch_size: 512
      epochs: \"${vars.epochs}\"
      uniform_negatives: 16
      schedule: cosine
      early_stopping: { metric: recall_at_10, patience: 100 }
  out: { op: ModelExport, input: model, with: { path: out } }
";

fn exported(workspace: &Workspace) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let folder = workspace.path().join("out");
    let mut files: Vec<_> = workspace
        .files_below("out")
        .into_iter()
        // TorchScript has times in it.
        .filter(|path| path.extension().is_none_or(|ending| ending != "pt"))
        .map(|path| {
            let bytes = std::fs::read(&path).expect("it was published");
            (path.strip_prefix(&folder).expect("it is below").to_owned(), bytes)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn training_that_was_killed_goes_on_after_its_last_epoch_to_the_same_bytes() {
    let undisturbed = Workspace::new();
    undisturbed.write("p.yaml", EPOCHS);
    assert_eq!(undisturbed.towline(&["run", "p.yaml"]).status.code(), Some(0));
    for damaged in [false, true] {
        let workspace = Workspace::new();
        workspace.write("p.yaml", EPOCHS);
        let mut child = training_to(&workspace, "epoch 4/");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        let scratch = workspace.files_below(".towline/scratch");
        let checkpoint = scratch
            .iter()
            .find(|path| path.ends_with("training.checkpoint"))
            .expect("it is kept");
        if damaged {
            let mut bytes = std::fs::read(checkpoint).expect("it can be read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(checkpoint, bytes).expect("it can be written");
        }
        let output = workspace.towline(&["run", "p.yaml", "--resume"]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        let log = stderr(&output);
        assert_eq!(log.contains("resumed after epoch"), !damaged, "{log}");
        assert_eq!(log.contains("epoch 2/30"), damaged, "{log}");
        assert_eq!(exported(&workspace), exported(&undisturbed), "damaged: {damaged}");
        assert!(workspace.files_below(".towline/scratch").is_empty());
        let [one, other] = [&workspace, &undisturbed].map(|place| {
            let record = place.records().pop().expect("a run");
            let model = record
                .nodes
                .into_iter()
                .find(|node| node.name == "model")
                .expect("it is there");
            (model.metrics, model.report, model.output)
        });
        assert_eq!(one, other);
    }
}

#[test]
fn a_killed_run_is_taken_up_by_the_next() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    let mut child = training(&workspace);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(!workspace.path().join("out").exists());
    reruns_from_what_is_stored(&workspace);
}
