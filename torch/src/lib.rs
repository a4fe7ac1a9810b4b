//! libtorch, loaded when the first tensor is needed.
//!
//! A program that links this crate beside `tch` starts without libtorch. [`load`] loads it, or says why that cannot be;
//! the first call of a function of `tch` loads it as well, but can only stop the process if that fails.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "on_demand.rs"]
mod loading;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[path = "linked.rs"]
mod loading;

pub use loading::load;

/// libtorch cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("libtorch cannot be loaded: {0}; `cargo xtask setup` fetches it, and a build finds it")]
pub struct LoadError(pub String);
