//! Finding the worker program and asking it for something.

use std::path::{Path, PathBuf};

use crate::torch_worker::messages::{Envelope, Event, Request, ScriptRequest, TorchDevice, TrainRequest, VERSION};
use crate::torch_worker::process::WorkerProcess;
use crate::train::TwoTowerTrain;
use towline_api::{Artifact, Context, Inputs, OperatorError, Output, Result};

/// The environment variable that names the program.
const VARIABLE: &str = "TOWLINE_TORCH";

/// The program `towline-torch`.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    path: PathBuf,
}

impl WorkerProgram {
    /// The program that `TOWLINE_TORCH` names, or the one beside this program or in the folder above it.
    ///
    /// # Errors
    /// If there is none, says how to get it and that `what` needs it.
    pub fn find(what: &str) -> Result<Self> {
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        let this = std::env::current_exe().ok();
        let path = located(named.as_deref(), this.as_deref(), what)?;
        Ok(WorkerProgram { path })
    }

    /// The program at `path`.
    pub fn at(path: &Path) -> Self {
        WorkerProgram { path: path.to_owned() }
    }

    /// Whether libtorch finds a CUDA device.
    pub fn has_cuda(&self, context: &Context) -> Result<bool> {
        match self.ask(Request::Devices, context)? {
            Event::Devices { cuda } => Ok(cuda),
            _ => Err(unexpected()),
        }
    }

    /// Trains a model; its files are in the temporary folder of `context` afterwards.
    pub fn train(
        &self,
        operator: &TwoTowerTrain,
        inputs: &Inputs<Artifact>,
        context: &Context,
        device: TorchDevice,
    ) -> Result<Output> {
        let request = TrainRequest::new(operator, inputs, context, device)?;
        match self.ask(Request::Train(request), context)? {
            Event::Trained(output) => Ok(output.into_output()),
            _ => Err(unexpected()),
        }
    }

    /// Writes a tower as TorchScript.
    pub fn write_script(&self, request: ScriptRequest, context: &Context) -> Result<()> {
        match self.ask(Request::Script(request), context)? {
            Event::Written => Ok(()),
            _ => Err(unexpected()),
        }
    }

    fn ask(&self, request: Request, context: &Context) -> Result<Event> {
        let envelope = Envelope {
            version: VERSION.to_owned(),
            request,
        };
        let text = serde_json::to_vec(&envelope);
        let text = text.map_err(|error| OperatorError::invalid(format!("cannot ask `towline-torch`: {error}")))?;
        let path = context.temp_file("towline-torch.json");
        std::fs::write(&path, text).map_err(OperatorError::io(&path))?;
        WorkerProcess::start(&self.path, &path)?.answer(context)
    }
}

fn unexpected() -> OperatorError {
    OperatorError::invalid("`towline-torch` answered something else than was asked")
}

fn located(named: Option<&Path>, this: Option<&Path>, what: &str) -> Result<PathBuf> {
    if let Some(path) = named {
        if path.is_file() {
            return Ok(path.to_owned());
        }
        let text = format!("{VARIABLE} names {}, which is no file", path.display());
        return Err(OperatorError::invalid(text));
    }
    let name = format!("towline-torch{}", std::env::consts::EXE_SUFFIX);
    // Tests and examples lie in a folder below that of the programs.
    let folders = this.into_iter().flat_map(|this| this.ancestors().skip(1).take(2));
    let found = folders.map(|folder| folder.join(&name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        OperatorError::invalid(format!(
            "{what} needs libtorch, and the worker program `towline-torch` is not beside this program: in a checkout of \
             Towline `cargo xtask setup && cargo build --workspace` builds it; {VARIABLE} may name it elsewhere"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_where_it_may_lie_and_its_absence_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let (this, other) = (folder.path().join("towline"), folder.path().join("deps/test"));
        let error = located(None, Some(&this), "`device: cuda`").unwrap_err().to_string();
        for part in [
            "`device: cuda`",
            "cargo xtask setup && cargo build --workspace",
            "TOWLINE_TORCH",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let program = folder
            .path()
            .join(format!("towline-torch{}", std::env::consts::EXE_SUFFIX));
        let error = located(Some(&program), Some(&this), "").unwrap_err().to_string();
        assert!(error.contains("is no file"), "{error}");
        std::fs::write(&program, "").unwrap();
        assert_eq!(located(None, Some(&this), "").unwrap(), program);
        assert_eq!(located(None, Some(&other), "").unwrap(), program);
        assert_eq!(located(Some(&program), None, "").unwrap(), program);
    }
}
