//! Executors: one for each form of operator. An executor gets a narrow context and returns what was produced; it knows
//! neither the store nor other jobs.

pub(super) mod columns;
mod context;
pub(super) mod facts;
pub(super) mod fit;
mod output;
pub(super) mod planned;
pub(super) mod sink;
pub(super) mod source;
pub(super) mod table;
pub(super) mod task;

pub(super) use context::{ExecContext, Stop};
pub(super) use output::{Produced, WorkOutput};
