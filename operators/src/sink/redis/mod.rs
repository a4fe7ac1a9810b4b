//! Publishing to Redis, in a way that readers can trust.
//!
//! [`RedisSink`] turns rows into keys and documents ([`entries`](super::entries)) and hands them to a [`publisher`], which
//! publishes in one of three ways ([`overwrite`], [`swap`], [`pointer`]). All of them send chunks through a [`writer`], some at
//! a time, and wait for every answer before they go on. Below that, [`server`] tries again what failed for a reason that
//! passes, [`layout`] knows which node holds a key, and [`connection`] opens connections again, and notices when the process
//! behind one is not the one that it was: then nothing that was written before counts. [`own`] tells the sink's keys from those
//! of others, [`whole`] whether a generation is all there.

mod address;
mod book;
mod checks;
mod commands;
mod connection;
mod gates;
mod layout;
mod modes;
mod overwrite;
mod own;
mod places;
mod pointer;
mod publisher;
mod reach;
mod resp_file;
mod resume;
mod room;
mod search_index;
mod server;
mod settings;
mod sink;
mod standing;
mod swap;
mod task;
mod vector_sink;
mod whole;
mod writer;

#[cfg(test)]
mod tests;

pub use settings::{Document, Encoding, Gates, MaxChange, Publish, Stale};
pub use sink::RedisSink;
pub use vector_sink::{Metric, VectorSink};
