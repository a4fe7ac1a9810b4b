//! Connection and publishing parameters, and their checks.

pub(crate) mod address;
pub(crate) mod checks;
pub(crate) mod connection_config;
pub(crate) mod settings;
pub(crate) mod targets;

pub use settings::{Document, Encoding, Gates, MaxChange, Publish, Stale};
