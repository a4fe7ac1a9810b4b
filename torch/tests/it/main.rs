//! Training with libtorch, TorchScript, and the worker program as `towline` uses it.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by a panic, also in what its functions share"
)]

mod dense_reference;
mod fixture;
mod kernels;
mod recording;
mod script;
mod worker;
