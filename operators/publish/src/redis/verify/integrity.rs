//! Integrity check of a generation before a rollback to it.

use std::borrow::Cow;

use crate::batch::chunk::digest;
use crate::redis::client::client_error::ClientError;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::config::settings::ValueType;
use crate::redis::keyspace::generation_metadata::GenerationMetadata;
use crate::redis::keyspace::key_records::add_to_checksum;
use crate::redis::keyspace::key_version::KeyVersion;
use crate::redis::keyspace::namespace::Namespace;
use towline_api::OperatorError;

/// Documents per request.
const DOCUMENTS_PER_REQUEST: usize = 512;

/// Keys of a generation that were found.
#[derive(Default)]
struct Found {
    keys: u64,
    checksum: u128,
    /// First key that is missing or has another value.
    damaged: Option<Vec<u8>>,
}

/// Refuses a generation with a missing key or a changed document. Strings are compared with the recorded digests; RedisJSON
/// and hashes return other bytes than were written, so for them only the existence of the keys is checked.
pub(crate) async fn check(
    namespace: Namespace<'_>,
    version: KeyVersion,
    metadata: &GenerationMetadata,
) -> Result<(), ClientError> {
    let incomplete = |what: &str| -> ClientError {
        OperatorError::Server(format!(
            "generation {} is incomplete, and the published generation was left unchanged: {what}; publish again",
            metadata.generation
        ))
        .into()
    };
    let generations = namespace.generations().await?;
    let Some(records) = generations.get(&metadata.generation) else {
        return Err(incomplete("the records of its keys are missing"));
    };
    let (format, mut found) = (ValueFormat::of(metadata.value_type()), Found::default());
    let recorded = (metadata.generation, *records);
    let check = async |keys: Vec<(u64, &[u8])>| {
        for keys in keys.chunks(DOCUMENTS_PER_REQUEST) {
            let stored: Vec<Cow<'_, [u8]>> = keys
                .iter()
                .map(|(_, key)| version.stored_key(namespace.keys, key))
                .collect();
            let stored: Vec<&[u8]> = stored.iter().map(AsRef::as_ref).collect();
            found.add(format.value_type, keys, format.read(namespace.server, &stored).await?);
        }
        Ok(())
    };
    let complete = namespace.for_each_record(recorded, check).await?;
    if let Some(key) = &found.damaged {
        let key = String::from_utf8_lossy(key);
        let why = metadata.ttl.map_or("", |_| " (`ttl`)");
        return Err(incomplete(&format!(
            "it has {} of {} keys, and `{key}` is missing{why} or has another value",
            found.keys, metadata.rows
        )));
    }
    if !complete || found.keys != metadata.rows {
        return Err(incomplete(&format!("it has {} of {} keys", found.keys, metadata.rows)));
    }
    if format.value_type == ValueType::String && format!("{:032x}", found.checksum) != metadata.checksum {
        return Err(incomplete("its documents are not those that were published"));
    }
    Ok(())
}

impl Found {
    /// Adds documents that were read, in the order of their keys.
    fn add(&mut self, value_type: ValueType, keys: &[(u64, &[u8])], documents: Vec<Option<Vec<u8>>>) {
        for ((recorded, key), document) in keys.iter().zip(documents) {
            match document {
                Some(document) if value_type != ValueType::String || digest(&document) == *recorded => {
                    self.keys += 1;
                    self.checksum = add_to_checksum(self.checksum, key, &document);
                }
                _ => self.damaged = self.damaged.take().or_else(|| Some(key.to_vec())),
            }
        }
    }
}
