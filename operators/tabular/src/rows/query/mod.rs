//! Operators with user-defined logic: SQL and external programs.

pub(crate) mod command;
pub(crate) mod sql;

pub use command::{Command, Format};
pub use sql::Sql;
