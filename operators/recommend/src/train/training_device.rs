//! The device that a training runs on: this process, or the worker program.

use crate::torch_worker::{TorchDevice, WorkerProgram};
use crate::train::config::training_options::TrainingDevice;
use crate::train::kernel_backend::kernel_backend;
use crate::train::two_tower_train::TwoTowerTrain;
use towline_api::{Artifact, Context, Inputs, Output, Result, Task};

impl Task for TwoTowerTrain {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let worker = match self.device {
            TrainingDevice::Cpu => None,
            TrainingDevice::Cuda => Some(WorkerProgram::find("`device: cuda`")?),
            TrainingDevice::Auto => with_cuda(context)?,
        };
        match worker {
            Some(worker) => worker.train(self, inputs, context, TorchDevice::Cuda),
            None => self.train_on(inputs, context, &kernel_backend),
        }
    }
}

/// The worker program, if there is one and it finds a CUDA device.
fn with_cuda(context: &Context) -> Result<Option<WorkerProgram>> {
    let Ok(worker) = WorkerProgram::find("`device: auto`") else {
        return Ok(None);
    };
    let found = worker.has_cuda(context);
    // An interruption is none of the worker's failures, which leave the processor.
    context.cancel.check()?;
    Ok(found.unwrap_or(false).then_some(worker))
}
