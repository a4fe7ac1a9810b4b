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
    #[cfg(target_os = "linux")]
    if !ends_with_parent() {
        return ExitCode::FAILURE;
    }
    serve(&Linked)
}

/// Has the system end this process together with its parent; `false` if the parent is gone already. On other systems the
/// end of the standard input alone says so.
#[cfg(target_os = "linux")]
fn ends_with_parent() -> bool {
    if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL) {
        eprintln!("cannot be ended together with the program that has started this one: {error}");
    }
    let parent = std::env::args().nth(2).and_then(|id| id.parse().ok());
    parent.is_none_or(|parent: u32| parent == std::os::unix::process::parent_id())
}
