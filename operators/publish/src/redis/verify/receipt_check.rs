//! Receipt check: whether a server still holds the generation of a receipt.

use std::time::Duration;

use crate::redis::client::client_error::ClientError;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::server::Server;
use crate::redis::config::settings::Publish;
use crate::redis::keyspace::generation_metadata::{GenerationMetadata, now};
use crate::redis::keyspace::metadata_keys::MetadataKeys;
use crate::redis::keyspace::search_index;
use towline_api::Receipt;

/// Timeout of the check; a server that is slower counts as unreachable.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Facts of a receipt to check.
pub(crate) struct ReceiptCheck {
    generation: u64,
    checksum: String,
    key: String,
    publish: Publish,
    ttl: Option<u64>,
    /// Name of the search index, and the number of its vectors.
    index: Option<(String, u64)>,
}

impl ReceiptCheck {
    /// `None` if the receipt lacks a generation.
    pub(crate) fn new(receipt: &Receipt, key: &str, publish: Publish, ttl: Option<u64>) -> Option<Self> {
        let text = |name: &str| receipt.details.get(name)?.as_str().map(str::to_owned);
        Some(ReceiptCheck {
            generation: receipt.details.get("generation")?.as_u64()?,
            checksum: text("checksum")?,
            key: key.to_owned(),
            publish,
            ttl,
            index: text("index").map(|index| (index, receipt.records)),
        })
    }

    /// Whether the generation is still published; `true` if the server cannot be reached. `staging` is the number of the
    /// staging database.
    pub(crate) fn still_published(self, endpoint: Endpoint, staging: Option<i64>) -> bool {
        // On a thread of its own: the caller's may belong to a runtime, which must not block.
        let check = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .ok()?;
            let check = async {
                tokio::time::timeout(TIMEOUT, self.check(&endpoint, staging))
                    .await
                    .ok()?
                    .ok()
            };
            runtime.block_on(check)
        });
        check.join().ok().flatten().unwrap_or(true)
    }

    async fn check(&self, endpoint: &Endpoint, staging: Option<i64>) -> Result<bool, ClientError> {
        let server = endpoint.open_once(endpoint.database()).await?;
        let metadata_keys = MetadataKeys(endpoint.namespace.clone());
        let published = match self.publish {
            Publish::Overwrite | Publish::Swap => self.metadata(&server, &metadata_keys.metadata(None)).await?,
            Publish::Pointer => match server
                .get(&metadata_keys.current())
                .await?
                .and_then(|text| text.parse().ok())
            {
                Some(current) => self.metadata(&server, &metadata_keys.metadata(Some(current))).await?,
                None => None,
            },
        };
        let Some(published) = published else {
            return Ok(false);
        };
        if published.generation < self.generation {
            let kept = match (self.publish, staging) {
                (Publish::Pointer, _) => {
                    let name = metadata_keys.metadata(Some(self.generation));
                    self.metadata(&server, &name).await?
                }
                (Publish::Swap, Some(staging)) => {
                    let staging = endpoint.open_once(staging).await?;
                    self.metadata(&staging, &metadata_keys.metadata(None)).await?
                }
                _ => None,
            };
            // It was rolled back and is not wanted again.
            return Ok(kept.is_some_and(|kept| self.matches(&kept)));
        }
        Ok(self.matches(&published) && !self.expires_soon(&published) && self.has_index(&server).await?)
    }

    /// Metadata under a name, if it is of the same keys.
    async fn metadata(&self, server: &Server, name: &str) -> Result<Option<GenerationMetadata>, ClientError> {
        let text = server.get(name).await?;
        let metadata = text.and_then(|text| serde_json::from_str::<GenerationMetadata>(&text).ok());
        Ok(metadata.filter(|metadata| metadata.key == self.key))
    }

    fn matches(&self, metadata: &GenerationMetadata) -> bool {
        metadata.generation == self.generation && metadata.checksum == self.checksum && metadata.ttl == self.ttl
    }

    /// Whether half of the keys' time to live is over, so that they might expire before the next run.
    fn expires_soon(&self, metadata: &GenerationMetadata) -> bool {
        self.ttl
            .is_some_and(|ttl| now() >= metadata.time.saturating_add(ttl / 2))
    }

    /// Whether the search index of the receipt, if it has one, exists and is complete.
    async fn has_index(&self, server: &Server) -> Result<bool, ClientError> {
        let Some((index, keys)) = &self.index else {
            return Ok(true);
        };
        let indexes: Vec<String> = server.query(None, redis::cmd("FT._LIST")).await?;
        if !indexes.contains(index) {
            return Ok(false);
        }
        let found = search_index::index_info(server, index, "num_docs").await?;
        Ok(found.is_none_or(|found| found as u64 >= *keys))
    }
}
