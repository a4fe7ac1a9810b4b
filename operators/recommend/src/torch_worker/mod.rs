//! The worker program `towline-torch`: everything that needs libtorch, in a process of its own.
//!
//! `towline` starts it for one request, which is a JSON file in the temporary folder of the task. Data goes through files:
//! training rows are the Parquet files of the dataset, weights are safetensors. The worker reports progress and its result
//! as lines of JSON on its standard output. It stops when its standard input ends or says `stop`.

mod messages;
mod process;
mod program;
mod serve;

pub use messages::{ColumnShape, ScriptRequest, TorchDevice};
pub use program::WorkerProgram;
pub use serve::{Libtorch, serve};
