//! Recommender operators: training, baselines, retrieval, evaluation, export.
//!
//! Only training on a CUDA device and the TorchScript part of an export need libtorch, which is in a program of its own
//! ([`torch_worker`]). Other training runs on the kernels of `towline-kernels`; encoding, scoring and evaluation compute the towers in plain Rust, so their results are the same
//! on every machine and with any number of threads.

pub mod baselines;
pub mod combine;
mod data;
pub mod evaluate;
pub mod export;
mod model;
pub mod retrieve;
pub mod synthetic;
#[cfg(test)]
mod tests;
pub mod torch_worker;
pub mod towers;
pub mod train;

pub use data::TimeDecay;
