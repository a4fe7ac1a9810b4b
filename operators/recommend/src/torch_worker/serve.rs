//! The worker's side: one request, progress lines, one answer.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;

use crate::torch_worker::messages::{
    Envelope, Event, Request, ScriptRequest, StoredOutput, TorchDevice, TrainRequest, VERSION,
};
use crate::torch_worker::process::STOP;
use crate::towers::towers::Towers;
use crate::train::backend::{Precision, TrainBackend, TrainingConfig};
use towline_api::{Cancel, Context, OperatorError, ProgressSink, Result};

/// Between two lines about rows that were trained on.
const PACE: Duration = Duration::from_millis(100);

/// What the worker program does with libtorch.
pub trait Libtorch {
    /// Whether there is a CUDA device.
    fn has_cuda(&self) -> bool;

    /// The backend of a training.
    fn backend(
        &self,
        towers: &Towers,
        config: &TrainingConfig,
        precision: Precision,
        device: TorchDevice,
    ) -> Result<Box<dyn TrainBackend>>;

    /// Writes a tower as TorchScript.
    fn write_script(&self, towers: &Towers, request: &ScriptRequest) -> Result<()>;
}

/// Serves the request in the file that the first argument names.
pub fn serve(torch: &dyn Libtorch) -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("`towline-torch` is started by `towline`, with a request");
        return ExitCode::from(2);
    };
    let cancel = Cancel::default();
    watch_input(cancel.clone());
    let progress = Arc::new(Lines::default());
    let sink: Arc<dyn ProgressSink> = Arc::clone(&progress) as _;
    let answer = read(Path::new(&path)).and_then(|request| answer(torch, request, sink, cancel));
    let answer = answer.unwrap_or_else(|error| Event::Failed {
        message: error.to_string(),
    });
    let failed = matches!(answer, Event::Failed { .. });
    progress.put(&answer);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Without its parent nobody reads what the worker makes.
fn watch_input(cancel: Cancel) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
            if line == STOP {
                cancel.cancel();
            }
        }
        std::process::exit(1);
    });
}

fn read(path: &Path) -> Result<Request> {
    let text = std::fs::read(path).map_err(OperatorError::io(path))?;
    let unreadable = |error| OperatorError::invalid(format!("`towline-torch` cannot read its request: {error}"));
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(unreadable)?;
    let version = value["version"].as_str().unwrap_or_default().to_owned();
    if version != VERSION {
        return Err(OperatorError::invalid(format!(
            "`towline` is version {version} and `towline-torch` version {VERSION}: build both with `cargo build --workspace`"
        )));
    }
    // From the text, so that numbers are read to the last bit.
    let envelope: Envelope = serde_json::from_slice(&text).map_err(unreadable)?;
    Ok(envelope.request)
}

fn answer(torch: &dyn Libtorch, request: Request, progress: Arc<dyn ProgressSink>, cancel: Cancel) -> Result<Event> {
    match request {
        Request::Devices => Ok(Event::Devices { cuda: torch.has_cuda() }),
        Request::Train(request) => train(torch, request, progress, cancel),
        Request::Script(request) => {
            let architecture = serde_json::from_value(request.description.clone());
            let architecture =
                architecture.map_err(|error| OperatorError::invalid(format!("not a two-tower model: {error}")))?;
            let towers = Towers::read(architecture, &request.weights)?;
            torch.write_script(&towers, &request)?;
            Ok(Event::Written)
        }
    }
}

fn train(
    torch: &dyn Libtorch,
    mut request: TrainRequest,
    progress: Arc<dyn ProgressSink>,
    cancel: Cancel,
) -> Result<Event> {
    let device = request.device;
    if device == TorchDevice::Cuda && !torch.has_cuda() {
        return Err(OperatorError::invalid(
            "`device: cuda`: libtorch finds no CUDA device. The libraries that `cargo xtask setup` fetches are for the \
             processor alone; build with a libtorch for CUDA (set LIBTORCH), or train with `device: cpu`",
        ));
    }
    let inputs = request.take_inputs();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(OperatorError::io("the runtime of `towline-torch`"))?;
    let context = Context {
        progress,
        cancel,
        temp: request.temp,
        scratch: request.scratch,
        session: SessionContext::new(),
        runtime: runtime.handle().clone(),
        threads: request.threads,
    };
    let backend =
        |towers: &Towers, config: &TrainingConfig, precision, _| torch.backend(towers, config, precision, device);
    let output = request.operator.train_on(&inputs, &context, &backend)?;
    Ok(Event::Trained(StoredOutput::of(output)?))
}

/// Progress as lines on the standard output.
#[derive(Default)]
struct Lines {
    /// Rows that no line has told of yet, and when the last line was written.
    pending: Mutex<(u64, Option<Instant>)>,
}

impl Lines {
    /// Writes an event, after the rows before it.
    fn put(&self, event: &Event) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.0 > 0 {
            write(&Event::Advance { count: pending.0 });
            pending.0 = 0;
        }
        write(event);
    }
}

/// A reader that is gone is noticed by the end of the standard input.
fn write(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

impl ProgressSink for Lines {
    fn begin(&self, unit: &str, total: Option<u64>) {
        let unit = unit.to_owned();
        self.put(&Event::Begin { unit, total });
    }

    fn advance(&self, n: u64) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.0 += n;
        if pending.1.is_none_or(|last| last.elapsed() >= PACE) {
            write(&Event::Advance { count: pending.0 });
            *pending = (0, Some(Instant::now()));
        }
    }

    fn note(&self, text: &str) {
        let text = text.to_owned();
        self.put(&Event::Note { text });
    }
}
