//! Training on a CUDA device and TorchScript, by libtorch.

#[cfg(feature = "torch")]
pub(crate) mod torch_network;
#[cfg(all(test, feature = "torch"))]
pub(crate) mod torch_network_tests;
#[cfg(feature = "torch")]
pub(crate) mod torch_optimizer;
#[cfg(feature = "torch")]
pub(crate) mod torch_script;
#[cfg(feature = "torch")]
pub(crate) mod torch_tower;
