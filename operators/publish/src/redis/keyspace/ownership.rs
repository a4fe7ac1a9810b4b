//! Ownership: `publish: swap` moves and empties whole databases, so they must hold only keys that the sink has written.

use std::collections::HashSet;
use std::path::Path;

use crate::batch::key_pattern::KeyPattern;
use crate::batch::spill::{PreviousKey, Spill, first_unknown_key};
use crate::redis::client::client_error::ClientError;
use crate::redis::client::server::Server;
use crate::redis::keyspace::generation_metadata::GenerationMetadata;
use crate::redis::keyspace::namespace::Namespace;
use towline_api::{Cancel, OperatorError};

/// `COUNT` of each `SCAN`.
const SCAN_COUNT: usize = 1000;

/// Check that a database holds only the sink's own keys.
pub(crate) struct OwnershipCheck<'a> {
    pub(crate) pattern: &'a KeyPattern,
    /// Folder for spilled keys.
    pub(crate) temp: &'a Path,
    pub(crate) cancel: &'a Cancel,
}

/// Number of keys in a database, all of them the sink's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnedKeys {
    /// All keys.
    pub(crate) total: u64,
    /// Metadata keys.
    pub(crate) metadata: u64,
    /// Upper bound while another run may be loading the database.
    pub(crate) limit: u64,
}

impl OwnershipCheck<'_> {
    /// Refuses a database with a key that the sink has not written. `metadata` is that of the generation in it.
    pub(crate) async fn check(
        &self,
        namespace: Namespace<'_>,
        metadata: Option<&GenerationMetadata>,
    ) -> Result<OwnedKeys, ClientError> {
        let Namespace { server, keys } = namespace;
        // A database that was being loaded has no metadata yet, but the number of keys that are to come.
        let loading = server.get(&keys.owner()).await?;
        let loading = loading.map(|keys| keys.parse().unwrap_or(0));
        let written: Option<u64> = metadata.map(|metadata| metadata.rows).or(loading);
        let paired = server.get(&keys.staging()).await?.is_some();
        let total = server.key_count().await?;
        let (metadata, found) = self.scan(namespace, written.is_some() || paired).await?;
        // Read after the scan: a run that is loading records a key before it writes it.
        let mut recorded = Spill::new(&self.temp.join("recorded"));
        let generations = namespace.generations().await?;
        for (generation, records) in &generations {
            namespace.spill_records((*generation, *records), &mut recorded).await?;
        }
        if let Some(key) = first_unknown_key(&found.finish()?, &recorded.finish()?)? {
            return Err(foreign_key(server, &key));
        }
        let records = metadata.iter().filter(|name| keys.is_record(name)).count() as u64;
        let pending_records = generations.values().sum::<u64>().saturating_sub(records);
        let metadata = metadata.len() as u64;
        Ok(OwnedKeys {
            total,
            metadata,
            limit: written
                .unwrap_or(0)
                .saturating_add(metadata)
                .saturating_add(pending_records),
        })
    }

    /// Metadata keys, and keys that match the pattern; any other key is an error. A database that is not marked as the
    /// sink's must be empty.
    async fn scan(
        &self,
        Namespace { server, keys: own_keys }: Namespace<'_>,
        marked: bool,
    ) -> Result<(HashSet<Vec<u8>>, Spill<PreviousKey>), ClientError> {
        // SCAN may return a key twice.
        let mut metadata = HashSet::new();
        let mut found = Spill::new(&self.temp.join("found"));
        let mut cursor = 0_u64;
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("COUNT").arg(SCAN_COUNT);
            let (next, keys): (u64, Vec<Vec<u8>>) = server.query(None, command).await?;
            for key in keys {
                if marked && own_keys.contains(&key) {
                    metadata.insert(key);
                } else if marked && self.pattern.matches(&key) {
                    found.push(&PreviousKey::of(0, &key))?;
                } else {
                    return Err(foreign_key(server, &key));
                }
            }
            if next == 0 {
                return Ok((metadata, found));
            }
            self.cancel.check()?;
            cursor = next;
        }
    }
}

/// Error for a database with a key of somebody else.
fn foreign_key(server: &Server, key: &[u8]) -> ClientError {
    OperatorError::Server(format!(
        "`publish: swap` moves whole databases, and database {} holds a key that this sink has not written: `{}`; give it \
         two databases of its own (`url`, `staging`), or use `publish: pointer`",
        server.database(),
        String::from_utf8_lossy(key)
    ))
    .into()
}
