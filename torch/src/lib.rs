//! Everything that needs libtorch: training on a CUDA device, and towers as TorchScript.
//!
//! The program `towline-torch` of this package serves requests of `towline`; no other program links libtorch.

mod network;
mod optimizer;
mod script;
mod tower;

pub use network::TorchNetwork;
pub use script::write_script;
