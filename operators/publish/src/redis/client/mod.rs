//! Connections to one server, Sentinel or a cluster, and commands over them.

pub(crate) mod cluster_layout;
pub(crate) mod commands;
pub(crate) mod connection;
pub(crate) mod server;
