//! The behaviour of the whole, in one binary.

mod bad_input;
mod choices;
mod collection;
mod damage;
mod deprecated_names;
mod diagnostics;
mod documentation;
mod engine;
mod expectation_facts;
mod expectation_language;
mod expectations;
mod exports;
mod features;
mod formats;
mod golden;
#[path = "../../xtask/src/import_graph.rs"]
mod import_graph;
#[path = "../../xtask/src/import_paths.rs"]
mod import_paths;
mod interruption;
mod new_items;
mod node_work;
mod operator_docs;
mod own_operator;
mod pipeline_tests;
mod pipelines;
mod profile;
mod publishing;
mod quality;
mod recommend;
mod redis_server;
mod reruns;
mod robustness;
mod s3_server;
mod sharing;
mod show;
#[path = "../../xtask/src/source_tree.rs"]
mod source_tree;
mod sources;
mod starter;
mod store_safety;
mod structure;
mod sweep;
mod torch_worker;
mod validation;
mod vocabulary;
mod workspace;
