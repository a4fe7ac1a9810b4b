//! Metadata of a generation, which is written last and commits it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::redis::client::client_error::ClientError;
use crate::redis::config::settings::{Publish, ValueType};
use crate::redis::keyspace::namespace::Namespace;
use towline_api::OperatorError;

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

    /// Whether all its keys have expired.
    pub(crate) fn is_expired(&self) -> bool {
        self.ttl.is_some_and(|ttl| self.time.saturating_add(ttl) <= now())
    }
}

impl Namespace<'_> {
    /// Metadata of the published generation, or of a generation with `publish: pointer`; metadata of another key pattern is
    /// an error.
    pub(crate) async fn metadata(
        &self,
        generation: Option<u64>,
        pattern: &str,
    ) -> Result<Option<GenerationMetadata>, ClientError> {
        let name = self.keys.metadata(generation);
        let mut command = redis::cmd("GET");
        command.arg(&name);
        let text: Option<Vec<u8>> = self.server.query(Some(name.as_bytes()), command).await?;
        let Some(text) = text else { return Ok(None) };
        let metadata: GenerationMetadata = serde_json::from_slice(&text).map_err(|_| {
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

    /// Writes the metadata of the published generation, or of a generation with `publish: pointer`.
    pub(crate) async fn write_metadata(
        &self,
        generation: Option<u64>,
        metadata: &GenerationMetadata,
    ) -> Result<(), ClientError> {
        let text = serde_json::to_string(metadata).map_err(|error| OperatorError::internal(error.to_string()))?;
        self.server.set(&self.keys.metadata(generation), &text).await
    }

    /// Number of the published generation (`publish: pointer`).
    pub(crate) async fn current_generation(&self) -> Result<Option<u64>, ClientError> {
        let name = self.keys.current();
        let Some(text) = self.server.get(&name).await? else {
            return Ok(None);
        };
        let number = text.parse();
        number.map(Some).map_err(|_| {
            OperatorError::Server(format!("the key `{name}` holds no number; choose another `namespace`")).into()
        })
    }
}

/// Time in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
