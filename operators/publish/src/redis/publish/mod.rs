//! Publishing a batch: modes, gates, writing, resuming.

pub(crate) mod gates;
pub(crate) mod leftover_check;
pub(crate) mod overwrite;
pub(crate) mod pointer;
pub(crate) mod publisher;
pub(crate) mod resp_file;
pub(crate) mod resume;
pub(crate) mod swap;
pub(crate) mod task;
pub(crate) mod writer;
