//! Parameters of the sinks, and their checks.

pub(crate) mod address;
pub(crate) mod connection_config;
pub(crate) mod defaults;
pub(crate) mod key_checks;
pub(crate) mod settings;
pub(crate) mod targets;

pub use settings::{Document, Encoding, Gates, MaxChange, Metric, Publish, StaleKeys};
