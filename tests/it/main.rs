//! The behaviour of the whole, in one binary.

mod bad_input;
mod broken_operator;
mod diagnostics;
mod features;
mod interruption;
mod operator_docs;
mod pipelines;
mod publishing;
mod quality;
mod redis_server;
mod reruns;
mod robustness;
mod sources;
mod starter;
mod validation;
mod workspace;
