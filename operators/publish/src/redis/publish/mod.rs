//! Publishing a batch to a server: modes, gates, writing, resuming.

pub(crate) mod attempts;
pub(crate) mod fence;
pub(crate) mod gates;
pub(crate) mod journal;
pub(crate) mod leftover_check;
pub(crate) mod list_changes;
pub(crate) mod mode;
pub(crate) mod options;
pub(crate) mod overwrite;
pub(crate) mod pointer;
pub(crate) mod publisher;
pub(crate) mod reader_function;
pub(crate) mod receipt;
pub(crate) mod resp_file;
pub(crate) mod session;
pub(crate) mod swap;
pub(crate) mod writer;
