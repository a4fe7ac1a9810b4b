//! What needs libtorch without the worker program that has it.

use crate::fixture::workspace::{Workspace, stderr};

const PIPELINE: &str = "version: 1
nodes:
  seen: { op: CsvSource, with: { path: seen.csv } }
  user: seen[user] >> Categorify >> TagAsUserID
  item: seen[item] >> Categorify >> TagAsItemID
  features: user + item
  model: { op: TwoTowerTrain, input: features, with: { layers: [4], batch_size: 8, epochs: 1, device: DEVICE } }
  export: { op: ModelExport, input: model, with: { path: out, torchscript: SCRIPT } }
";

/// A run with these values where the program is not where it should be.
fn run(device: &str, script: &str) -> (Option<i32>, String, Workspace) {
    let workspace = Workspace::new();
    let rows = (0..40).map(|row| format!("u{},i{}\n", row % 5, row % 7));
    workspace.write("seen.csv", &format!("user,item\n{}", rows.collect::<String>()));
    workspace.write("p.yaml", &PIPELINE.replace("DEVICE", device).replace("SCRIPT", script));
    let output = workspace.towline_with(&["run", "p.yaml"], &[("TOWLINE_TORCH", "nowhere/towline-torch")]);
    (output.status.code(), stderr(&output), workspace)
}

#[test]
fn without_the_worker_training_on_cuda_and_torchscript_say_what_is_missing() {
    for (device, script) in [("cuda", "false"), ("cpu", "true")] {
        let (code, text, _) = run(device, script);
        assert_eq!(code, Some(1), "{text}");
        let wanted = "TOWLINE_TORCH names nowhere/towline-torch, which is no file";
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn what_needs_no_libtorch_runs_without_the_worker() {
    for device in ["cpu", "auto"] {
        let (code, text, workspace) = run(device, "false");
        assert_eq!(code, Some(0), "{text}");
        assert!(workspace.path().join("out/weights.safetensors").is_file());
        assert!(!workspace.path().join("out/query_tower.pt").exists());
    }
}
