//! Tabular operators: sources, rows, features, and the Merlin file formats.

mod declared_type;
pub mod features;
#[cfg(test)]
mod harness;
pub mod merlin;
pub mod rows;
pub mod source;
