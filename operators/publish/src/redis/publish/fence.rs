//! Fencing: a run that was superseded by a later one stops before its next chunk.

use crate::redis::client::client_error::ClientError;
use crate::redis::keyspace::namespace::Namespace;
use towline_api::OperatorError;

/// Value in the server that a run needs to go on writing.
#[derive(Debug, Clone)]
pub(crate) enum Fence {
    /// Fencing token of the only run that may write to the keys.
    Token(String),
    /// Registration of the generation, which a later run removes.
    Generation(u64),
}

impl Fence {
    /// Whether no later run has replaced or removed it.
    pub(crate) async fn is_held(&self, namespace: Namespace<'_>) -> Result<bool, ClientError> {
        match self {
            Fence::Token(token) => {
                let holder = namespace.server.get(&namespace.keys.writing()).await?;
                Ok(holder.as_ref() == Some(token))
            }
            Fence::Generation(generation) => namespace.is_registered(*generation).await,
        }
    }

    /// An error if a later run has replaced or removed it.
    pub(crate) async fn check(&self, namespace: Namespace<'_>) -> Result<(), ClientError> {
        if self.is_held(namespace).await? {
            return Ok(());
        }
        Err(OperatorError::Server(
            "another run has started to publish here and goes on; this run stops, and what it wrote is not published"
                .to_owned(),
        )
        .into())
    }
}
