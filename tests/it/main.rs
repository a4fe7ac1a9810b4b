//! The behaviour of the whole, in one binary.

mod bad_input;
mod choices;
mod collection;
mod damage;
mod diagnostics;
mod engine;
mod expectation_facts;
mod expectation_language;
mod expectations;
mod features;
mod interruption;
mod node_work;
mod operator_docs;
mod pipeline_tests;
mod pipelines;
mod publishing;
mod quality;
mod recommend;
mod redis_server;
mod reruns;
mod robustness;
mod sources;
mod starter;
mod validation;
mod workspace;
