//! Namespace: the metadata keys of a sink in one database.

use crate::redis::client::server::Server;
use crate::redis::keyspace::metadata_keys::MetadataKeys;

/// Namespace in one database of a server.
#[derive(Clone, Copy)]
pub(crate) struct Namespace<'a> {
    pub(crate) server: &'a Server,
    pub(crate) keys: &'a MetadataKeys,
}
