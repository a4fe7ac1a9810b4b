//! Ctrl-C, and the end of a process in the middle of a run.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::workspace::{Workspace, stderr, stdout};

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
    let mut child = Command::new(env!("CARGO_BIN_EXE_towline"))
        .args(["run", "p.yaml"])
        .current_dir(workspace.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let mut lines = lines.map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains("epoch 1/")), "training begins");
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
