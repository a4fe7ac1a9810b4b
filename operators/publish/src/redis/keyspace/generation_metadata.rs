//! Metadata of a generation, which is written last and commits it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::redis::client::client_error::ClientError;
use crate::redis::client::server::Server;
use crate::redis::config::settings::{Publish, ValueType};
use crate::redis::keyspace::metadata_keys::MetadataKeys;
use towline_api::{OperatorError, Result};

/// Metadata of a generation, stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GenerationMetadata {
    pub(crate) generation: u64,
    /// Number of keys.
    pub(crate) rows: u64,
    /// Order-independent sum of the hashes (xxh3, 128 bits) of all keys and documents.
    pub(crate) checksum: String,
    /// Content digest of the model, if the sink has one as input.
    pub(crate) model: Option<String>,
    /// Time of publication in seconds since 1970.
    pub(crate) time: u64,
    /// Pattern of the keys.
    pub(crate) key: String,
    /// Name of the value type.
    pub(crate) encoding: String,
    /// Publish mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) publish: Option<Publish>,
    /// Time to live of the keys in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u64>,
}

impl GenerationMetadata {
    /// Type of the values.
    pub(crate) fn value_type(&self) -> ValueType {
        [ValueType::Json, ValueType::Hash]
            .into_iter()
            .find(|value_type| value_type.name() == self.encoding)
            .unwrap_or(ValueType::String)
    }

    /// Reads the metadata under `name`; metadata of another key pattern is an error.
    pub(crate) async fn read(server: &Server, name: &str, pattern: &str) -> Result<Option<Self>, ClientError> {
        let mut command = redis::cmd("GET");
        command.arg(name);
        let Some(text) = server.query::<Option<Vec<u8>>>(Some(name.as_bytes()), command).await? else {
            return Ok(None);
        };
        let metadata: Self = serde_json::from_slice(&text).map_err(|_| {
            OperatorError::Server(format!(
                "the key `{name}` holds something else than the metadata of this sink; choose another `namespace`"
            ))
        })?;
        if metadata.key != pattern {
            let text = format!(
                "`{name}` is about the keys `{}`, not `{pattern}`: another sink publishes here; choose another \
                 `namespace` (or remove `{name}` if those keys are no longer published)",
                metadata.key
            );
            return Err(OperatorError::Server(text).into());
        }
        Ok(Some(metadata))
    }

    /// Whether all its keys have expired.
    pub(crate) fn is_expired(&self) -> bool {
        self.ttl.is_some_and(|ttl| self.time.saturating_add(ttl) <= now())
    }

    /// Writes the metadata under `name`.
    pub(crate) async fn write(&self, server: &Server, name: &str) -> Result<(), ClientError> {
        let text = serde_json::to_string(self).map_err(|error| OperatorError::internal(error.to_string()))?;
        server.set(name, &text).await
    }
}

/// Reads the number of the published generation (`publish: pointer`).
pub(crate) async fn current_generation(
    server: &Server,
    metadata_keys: &MetadataKeys,
) -> Result<Option<u64>, ClientError> {
    let Some(text) = server.get(&metadata_keys.current()).await? else {
        return Ok(None);
    };
    let number = text.parse().map_err(|_| {
        OperatorError::Server(format!(
            "the key `{}` holds no number; choose another `namespace`",
            metadata_keys.current()
        ))
    })?;
    Ok(Some(number))
}

/// Time in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
