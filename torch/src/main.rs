//! The worker program: serves one request of `towline`.

use std::process::ExitCode;

use tch::Device;
use towline_api::Result;
use towline_recommend::torch_worker::{Libtorch, ScriptRequest, TorchDevice, serve};
use towline_recommend::train::backend::{Precision, Towers, TrainBackend, TrainingConfig};
use towline_torch::{TorchNetwork, write_script};

/// libtorch, as this program is linked with it.
struct Linked;

impl Libtorch for Linked {
    fn has_cuda(&self) -> bool {
        tch::Cuda::is_available()
    }

    fn backend(
        &self,
        towers: &Towers,
        config: &TrainingConfig,
        precision: Precision,
        device: TorchDevice,
    ) -> Result<Box<dyn TrainBackend>> {
        let device = match device {
            TorchDevice::Cpu => Device::Cpu,
            TorchDevice::Cuda => Device::Cuda(0),
        };
        Ok(Box::new(TorchNetwork::new(towers, config, precision, device)?))
    }

    fn write_script(&self, towers: &Towers, request: &ScriptRequest) -> Result<()> {
        write_script(towers, request)
    }
}

fn main() -> ExitCode {
    // Elsewhere the end of the standard input alone says that the parent is gone.
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL) {
        eprintln!("cannot be ended together with the program that has started this one: {error}");
    }
    serve(&Linked)
}
