//! Redis: publishing batches of recommendations and vectors.

pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod keyspace;
pub(crate) mod publish;
pub(crate) mod redis_sink;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod vector_sink;
pub(crate) mod verify;

pub use config::{Document, Encoding, Gates, MaxChange, Metric, Publish, StaleKeys};
pub use redis_sink::RedisSink;
pub use vector_sink::VectorSink;
