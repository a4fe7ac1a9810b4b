//! Training with libtorch, TorchScript, and the worker program as `towline` uses it.

mod dense_reference;
mod fixture;
mod kernels;
mod recording;
mod script;
mod worker;
