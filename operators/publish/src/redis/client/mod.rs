//! Redis client: connections to one server, Sentinel or a cluster, and commands over them.

pub(crate) mod basic_commands;
pub(crate) mod client_error;
pub(crate) mod connector;
pub(crate) mod endpoint;
pub(crate) mod node;
pub(crate) mod node_map;
pub(crate) mod server;
pub(crate) mod value_format;
