//! Whether a server still holds what a receipt says.

use std::time::Duration;

use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::config::settings::Publish;
use crate::redis::keyspace::metadata_keys;
use crate::redis::keyspace::metadata_keys::{Meta, Names};
use crate::redis::publish::task::Target;
use towline_api::Receipt;

/// How long to wait for a server that is only asked whether a batch is still there.
const LOOK: Duration = Duration::from_secs(2);

/// What a receipt says of a generation.
pub(crate) struct Claim {
    generation: u64,
    checksum: String,
    key: String,
    publish: Publish,
    ttl: Option<u64>,
    /// The index over the keys, and how many it has.
    index: Option<(String, u64)>,
}

impl Claim {
    /// `None` of a receipt that does not say it.
    pub(crate) fn of(receipt: &Receipt, key: &str, publish: Publish, ttl: Option<u64>) -> Option<Self> {
        let text = |name: &str| receipt.details.get(name)?.as_str().map(str::to_owned);
        Some(Claim {
            generation: receipt.details.get("generation")?.as_u64()?,
            checksum: text("checksum")?,
            key: key.to_owned(),
            publish,
            ttl,
            index: text("index").map(|index| (index, receipt.records)),
        })
    }

    /// Whether it still holds; `true` where the server cannot be asked.
    pub(crate) fn stands(self, target: Target) -> bool {
        // On a thread of its own: this one may belong to a runtime that must not wait.
        let asking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .ok()?;
            let look = async { tokio::time::timeout(LOOK, self.look(&target)).await.ok()?.ok() };
            runtime.block_on(look)
        });
        asking.join().ok().flatten().unwrap_or(true)
    }

    async fn look(&self, target: &Target) -> Result<bool, Failure> {
        let server = target.open(target.address.database, Duration::ZERO).await?;
        let names = Names(target.namespace.clone());
        let live = match self.publish {
            Publish::Overwrite | Publish::Swap => self.meta(&server, &names.meta(None)).await?,
            Publish::Pointer => match metadata_keys::get(&server, &names.current())
                .await?
                .and_then(|text| text.parse().ok())
            {
                Some(current) => self.meta(&server, &names.meta(Some(current))).await?,
                None => None,
            },
        };
        let Some(live) = live else { return Ok(false) };
        if live.generation < self.generation {
            return self.was_rolled_back(target, &server, &names).await;
        }
        Ok(self.is(&live) && !self.is_old(&live) && self.has_index(&server).await?)
    }

    /// What is said of a generation under a name, if it is about the same keys.
    async fn meta(&self, server: &Server, name: &str) -> Result<Option<Meta>, Failure> {
        let text = metadata_keys::get(server, name).await?;
        let meta = text.and_then(|text| serde_json::from_str::<Meta>(&text).ok());
        Ok(meta.filter(|meta| meta.key == self.key))
    }

    fn is(&self, meta: &Meta) -> bool {
        meta.generation == self.generation && meta.checksum == self.checksum && meta.ttl == self.ttl
    }

    /// Whether so much of the keys' time is over that they might be gone before somebody comes again.
    fn is_old(&self, meta: &Meta) -> bool {
        self.ttl
            .is_some_and(|ttl| metadata_keys::now() >= meta.time.saturating_add(ttl / 2))
    }

    /// Whether the generation is there still, and only does not count any more: somebody has gone back behind it, and does
    /// not want it again.
    async fn was_rolled_back(&self, target: &Target, server: &Server, names: &Names) -> Result<bool, Failure> {
        let kept = match (self.publish, target.staging) {
            (Publish::Pointer, _) => self.meta(server, &names.meta(Some(self.generation))).await?,
            (Publish::Swap, Some(staging)) => {
                let staging = target.open(staging, Duration::ZERO).await?;
                self.meta(&staging, &names.meta(None)).await?
            }
            _ => None,
        };
        Ok(kept.is_some_and(|kept| self.is(&kept)))
    }

    /// Whether the index is there and has all keys, if the receipt tells of one.
    async fn has_index(&self, server: &Server) -> Result<bool, Failure> {
        let Some((index, keys)) = &self.index else {
            return Ok(true);
        };
        let indexes: Vec<String> = server.one(None, redis::cmd("FT._LIST")).await?;
        if !indexes.contains(index) {
            return Ok(false);
        }
        let found = crate::redis::keyspace::search_index::fact(server, index, "num_docs").await?;
        Ok(found.is_none_or(|found| found as u64 >= *keys))
    }
}
