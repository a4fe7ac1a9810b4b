//! The worker program: what it trains, how it fails, and how it ends.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use towline_api::{Cancel, Context, OperatorError, Output, ProgressSink, TaskResult};
use towline_recommend::torch_worker::{TorchDevice, WorkerProgram};

use crate::fixture::{Fixture, inputs, operator, small};
use crate::recording::{Computed, recorded};

const ROWS: usize = 200;
const PROGRAM: &str = env!("CARGO_BIN_EXE_towline-torch");

fn worker() -> WorkerProgram {
    WorkerProgram::at(Path::new(PROGRAM))
}

fn weights(output: &Output) -> Vec<u8> {
    let TaskResult::Model { files, .. } = &output.result else {
        panic!("not a model")
    };
    std::fs::read(&files["weights.safetensors"]).unwrap()
}

/// Every option that has to cross to the worker.
fn settings() -> Value {
    json!({
        "pooling": "attention", "dropout": 0.1, "learn_temperature": true, "clip_norm": 1.0, "weight_decay": 1e-3,
        "average_epochs": 2, "hard_negatives": { "top": 20, "each": 1 }, "validate_on": "train",
        "early_stopping": { "metric": "ndcg_at_10", "patience": 5 }, "threads": 1,
    })
}

#[derive(Default)]
struct Told {
    units: Mutex<Vec<(String, Option<u64>)>>,
    rows: Mutex<u64>,
    notes: Mutex<Vec<String>>,
    /// Asked to stop when a note begins like this.
    stop: Option<(&'static str, Cancel)>,
}

impl ProgressSink for Told {
    fn begin(&self, unit: &str, total: Option<u64>) {
        self.units.lock().unwrap().push((unit.to_owned(), total));
    }
    fn advance(&self, n: u64) {
        *self.rows.lock().unwrap() += n;
    }
    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
        if let Some((_, cancel)) = self.stop.as_ref().filter(|(beginning, _)| text.starts_with(beginning)) {
            cancel.cancel();
        }
    }
}

fn watched(fixture: &Fixture, stop: Option<&'static str>) -> (Context, Arc<Told>) {
    let mut context = fixture.context();
    let told = Arc::new(Told {
        stop: stop.map(|beginning| (beginning, context.cancel.clone())),
        ..Told::default()
    });
    context.progress = Arc::clone(&told) as _;
    (context, told)
}

#[test]
fn a_training_in_the_worker_is_that_of_libtorch_in_this_process() {
    tch::set_num_threads(1);
    let fixture = Fixture::new();
    let operator = operator(&small(), &settings());
    let ports = inputs(fixture.data(ROWS, &[]));
    let (backend, _) = recorded(Computed::Libtorch);
    let (context, here) = watched(&fixture, None);
    let expected = operator.train_on(&ports, &context, &*backend).unwrap();
    let (context, there) = watched(&fixture, None);
    let found = worker().train(&operator, &ports, &context, TorchDevice::Cpu).unwrap();
    assert_eq!(*here.units.lock().unwrap(), *there.units.lock().unwrap());
    assert_eq!(*here.rows.lock().unwrap(), *there.rows.lock().unwrap());
    assert_eq!(there.notes.lock().unwrap().len(), 5);
    let keys = |output: &Output| output.metrics.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&expected), keys(&found));
    for (name, value) in &expected.metrics {
        let other = found.metrics[name];
        assert!((value - other).abs() < 1e-4, "{name}: {value} {other}");
    }
    assert_eq!(expected.report.facts, found.report.facts);
    let (a, b) = (weights(&expected), weights(&found));
    assert_eq!(a.len(), b.len());
    // Only a number that rounding decides may differ: libtorch splits sums by threads.
    let alike = a.iter().zip(&b).filter(|(a, b)| a == b).count();
    assert!(alike * 10 > a.len() * 9, "{alike} of {} bytes are the same", a.len());
}

#[test]
fn an_interrupted_training_is_taken_up_where_it_was() {
    let fixture = Fixture::new();
    let operator = operator(&small(), &settings());
    let ports = inputs(fixture.data(ROWS, &[]));
    let train = |context: &Context| worker().train(&operator, &ports, context, TorchDevice::Cpu);
    let (context, _) = watched(&fixture, None);
    let through = train(&context).unwrap();
    let (interrupted, _) = watched(&fixture, Some("epoch 2/"));
    let error = train(&interrupted).unwrap_err();
    assert!(matches!(error, OperatorError::Cancelled), "{error}");
    assert_eq!(
        std::fs::read_dir(&interrupted.scratch).unwrap().count(),
        1,
        "a checkpoint is kept"
    );
    let (mut context, told) = watched(&fixture, None);
    context.scratch = interrupted.scratch;
    let resumed = train(&context).unwrap();
    let notes = told.notes.lock().unwrap();
    assert!(notes[0].starts_with("resumed after epoch"), "{notes:?}");
    for (name, value) in &through.metrics {
        let other = resumed.metrics[name];
        assert!((value - other).abs() < 1e-4, "{name}: {value} {other}");
    }
}

#[test]
fn its_errors_are_those_of_the_operator() {
    let fixture = Fixture::new();
    let ports = inputs(fixture.data(ROWS, &[]));
    let context = fixture.context();
    let exploding = operator(
        &small(),
        &json!({ "optimizer": "sgd", "learning_rate": 1e30, "warm_up": 0 }),
    );
    let error = worker()
        .train(&exploding, &ports, &context, TorchDevice::Cpu)
        .unwrap_err();
    assert!(error.to_string().contains("Lower `learning_rate`"), "{error}");
    if !worker().has_cuda(&context).unwrap() {
        let error = worker()
            .train(&exploding, &ports, &context, TorchDevice::Cuda)
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("finds no CUDA device") && text.contains("device: cpu"),
            "{text}"
        );
    }
}

#[test]
#[cfg(unix)]
fn a_worker_that_breaks_down_is_an_error_that_quotes_it() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    let program = fixture.path().join("broken");
    std::fs::write(
        &program,
        "#!/bin/sh\necho chatter\necho 'no libtorch_cpu.so' >&2\nexit 7\n",
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = WorkerProgram::at(&program).has_cuda(&fixture.context()).unwrap_err();
    let text = error.to_string();
    for part in ["`towline-torch` ended without a result", "7", "no libtorch_cpu.so"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn another_version_is_refused() {
    let fixture = Fixture::new();
    let request = fixture.path().join("request.json");
    std::fs::write(&request, r#"{ "version": "0.0.0", "request": { "task": "devices" } }"#).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg(&request).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && text.contains("version 0.0.0"), "{text}");
}

/// A pipe that nobody writes to: a worker with this request reads for ever.
#[cfg(unix)]
fn endless(fixture: &Fixture, name: &str) -> std::path::PathBuf {
    let path = fixture.path().join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[cfg(unix)]
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_mins(1), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[cfg(unix)]
fn a_worker_ends_with_its_standard_input() {
    let fixture = Fixture::new();
    let mut command = Command::new(PROGRAM);
    let mut child = command
        .arg(endless(&fixture, "request"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(child.try_wait().unwrap(), None);
    drop(child.stdin.take());
    soon("the worker outlived its standard input", || {
        child.try_wait().unwrap().is_some()
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_worker_ends_with_its_parent() {
    let fixture = Fixture::new();
    let (request, input, id) = (
        endless(&fixture, "request"),
        endless(&fixture, "input"),
        fixture.path().join("id"),
    );
    // Opened for both, so that it does not wait for the worker and never ends.
    let held = std::fs::File::options().read(true).write(true).open(&input).unwrap();
    let mut parent = Command::new("sh")
        .args(["-c", "\"$0\" \"$1\" $$ < \"$2\" & echo $! > \"$3\"; wait", PROGRAM])
        .args([&request, &input, &id])
        .spawn()
        .unwrap();
    let mut worker = String::new();
    soon("the parent did not start the worker", || {
        worker = std::fs::read_to_string(&id).unwrap_or_default().trim().to_owned();
        !worker.is_empty()
    });
    let status = format!("/proc/{worker}/stat");
    soon("the worker did not start", || {
        std::fs::read_to_string(&status).is_ok_and(|text| text.contains("(towline-torch)"))
    });
    parent.kill().unwrap();
    parent.wait().unwrap();
    soon("the worker outlived its parent", || {
        std::fs::read_to_string(&status).map_or(true, |text| text.contains(") Z "))
    });
    drop(held);
}
