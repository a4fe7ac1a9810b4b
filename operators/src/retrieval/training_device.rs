//! Where `TwoTowerTrain` computes: on the processor, or with libtorch on a GPU.

use towline_kernels::Step;

use super::computing::Computing;
use super::learner::Learner;
use super::towers::Towers;
use super::training_options::TrainingDevice;
use super::two_tower_train::TwoTowerTrain;
use crate::contract::{Context, Device, Result};

impl TwoTowerTrain {
    /// What makes the steps, on the device that is asked for.
    pub(super) fn learner(&self, towers: &Towers, step: Step, context: &Context) -> Result<Learner> {
        let device = match self.device {
            TrainingDevice::Cpu => Device::Cpu,
            TrainingDevice::Cuda => Device::Cuda,
            TrainingDevice::Auto => found(),
        };
        if device == Device::Cuda {
            return on_cuda(self, towers, step);
        }
        let on = Computing::new(self.precision, context.threads);
        Ok(Learner::kernels(towers, step, self.clip_norm, on))
    }
}

/// The device that this machine has.
fn found() -> Device {
    #[cfg(feature = "torch")]
    if super::torch_network::cuda().is_ok() {
        return Device::Cuda;
    }
    Device::Cpu
}

#[cfg(feature = "torch")]
fn on_cuda(options: &TwoTowerTrain, towers: &Towers, step: Step) -> Result<Learner> {
    let device = super::torch_network::cuda()?;
    let network = super::torch_network::TorchNetwork::new(towers, step, options.clip_norm, options.precision, device)?;
    Ok(Learner::Torch(Box::new(network)))
}

#[cfg(not(feature = "torch"))]
fn on_cuda(_: &TwoTowerTrain, _: &Towers, _: Step) -> Result<Learner> {
    Err(crate::contract::OperatorError::invalid(
        "`device: cuda`: this program was built without libtorch; build it with the feature `torch`",
    ))
}
