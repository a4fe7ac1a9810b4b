//! What is written beside the keys: which generation is there, which keys it has, who is writing.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use redis::Pipeline;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::batch::chunk::{Chunk, digest};
use crate::batch::spill::{Earlier, Spill};
use crate::redis::client::commands::Style;
use crate::redis::client::connection::Failure;
use crate::redis::client::server::{Server, value};
use crate::redis::config::settings::{Publish, Stored};
use towline_api::{OperatorError, Result};

/// Records that are asked for at once.
const RECORDS: u64 = 64;

/// The names of the keys beside the keys, all with one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Names(pub(crate) String);

impl Names {
    /// What the generation in place is; in `pointer`, that of a generation.
    pub(crate) fn meta(&self, generation: Option<u64>) -> String {
        match generation {
            Some(generation) => format!("{}:META:{generation}", self.0),
            None => format!("{}:META", self.0),
        }
    }

    /// Who is writing.
    pub(crate) fn writing(&self) -> String {
        format!("{}:WRITING", self.0)
    }

    /// Says that a database is the sink's own.
    pub(crate) fn owner(&self) -> String {
        format!("{}:OWNER", self.0)
    }

    /// With `publish: swap`, the number of the second database; in both of them.
    pub(crate) fn staging(&self) -> String {
        format!("{}:STAGING", self.0)
    }

    /// The generations whose keys are recorded, each with the number of its records.
    pub(crate) fn generations(&self) -> String {
        format!("{}:GENERATIONS", self.0)
    }

    /// The number of the last generation that was begun.
    pub(crate) fn sequence(&self) -> String {
        format!("{}:SEQUENCE", self.0)
    }

    /// The generation that counts.
    pub(crate) fn current(&self) -> String {
        format!("{}:CURRENT", self.0)
    }

    /// The keys of a chunk of a generation.
    pub(crate) fn record(&self, generation: u64, chunk: u64) -> String {
        format!("{}:KEYS:{generation}:{chunk}", self.0)
    }

    /// Whether a key is one of those that records are under.
    pub(crate) fn is_record(&self, key: &[u8]) -> bool {
        let rest = key.strip_prefix(self.0.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b":KEYS:"))
    }

    /// A key of a generation. The braces keep it in the slot of the key itself.
    pub(crate) fn of_generation(&self, generation: u64, key: &[u8]) -> Vec<u8> {
        let mut name = format!("{}:{generation}:{{", self.0).into_bytes();
        name.extend_from_slice(key);
        name.push(b'}');
        name
    }

    /// Whether a key is one of these.
    pub(crate) fn are(&self, key: &[u8]) -> bool {
        key.strip_prefix(self.0.as_bytes())
            .is_some_and(|rest| rest.starts_with(b":"))
    }
}

/// What is said of a generation, in JSON; it is written last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) generation: u64,
    /// How many keys it has.
    pub(crate) rows: u64,
    /// The sum of the hashes (xxh3, 128 bits) of all keys and documents: the same on any number of threads.
    pub(crate) checksum: String,
    /// The content digest of the model that made it, if the sink was told.
    pub(crate) model: Option<String>,
    /// When it was published, in seconds since 1970.
    pub(crate) time: u64,
    /// The pattern of the keys.
    pub(crate) key: String,
    /// How they are stored.
    pub(crate) encoding: String,
    /// How it took the place of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) publish: Option<Publish>,
    /// Seconds after which its keys go by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u64>,
}

impl Meta {
    /// How the keys of the generation are stored.
    pub(crate) fn stored(&self) -> Stored {
        [Stored::Json, Stored::Hash]
            .into_iter()
            .find(|stored| stored.word() == self.encoding)
            .unwrap_or(Stored::String)
    }
}

/// Adds an entry to a checksum.
pub(crate) fn add(checksum: u128, key: &[u8], document: &[u8]) -> u128 {
    let both = xxh3_128(key).rotate_left(1) ^ xxh3_128(document);
    checksum.wrapping_add(xxh3_128(&both.to_le_bytes()))
}

/// What is said of a generation; an error if it is of other keys.
pub(crate) async fn meta(server: &Server, name: &str, pattern: &str) -> Result<Option<Meta>, Failure> {
    let mut command = redis::cmd("GET");
    command.arg(name);
    let Some(text) = server.one::<Option<Vec<u8>>>(Some(name.as_bytes()), command).await? else {
        return Ok(None);
    };
    let meta: Meta = serde_json::from_slice(&text).map_err(|_| {
        OperatorError::Server(format!(
            "the key `{name}` holds something else than what this sink writes there; choose another `namespace`"
        ))
    })?;
    if meta.key != pattern {
        let text = format!(
            "`{name}` is about the keys `{}`, not `{pattern}`: another sink publishes here; choose another `namespace` \
             (or remove `{name}` if those keys are no longer published)",
            meta.key
        );
        return Err(OperatorError::Server(text).into());
    }
    Ok(Some(meta))
}

/// The time, in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Sets a key to a text.
pub(crate) async fn set(server: &Server, name: &str, text: &str) -> Result<(), Failure> {
    let mut command = redis::cmd("SET");
    command.arg(name).arg(text);
    server.one::<()>(Some(name.as_bytes()), command).await
}

/// The text of a key.
pub(crate) async fn get(server: &Server, name: &str) -> Result<Option<String>, Failure> {
    let mut command = redis::cmd("GET");
    command.arg(name);
    server.one(Some(name.as_bytes()), command).await
}

/// Removes keys, of whatever nodes.
pub(crate) async fn remove<K: AsRef<[u8]>>(server: &Server, keys: &[K]) -> Result<(), Failure> {
    server
        .patiently(async || {
            for (node, places) in server.owners(keys.iter().map(AsRef::as_ref)).await {
                let mut pipeline = Pipeline::with_capacity(places.len());
                for place in places {
                    pipeline.cmd("UNLINK").arg(keys[place].as_ref());
                }
                let answers = server.try_send(node, &pipeline).await?;
                answers
                    .into_iter()
                    .try_for_each(|answer| value::<i64>(answer).map(|_| ()))?;
            }
            Ok(())
        })
        .await
}

/// The generations whose keys are recorded, each with the number of its records.
pub(crate) async fn generations(server: &Server, names: &Names) -> Result<BTreeMap<u64, u64>, Failure> {
    let name = names.generations();
    let mut command = redis::cmd("HGETALL");
    command.arg(&name);
    server.one(Some(name.as_bytes()), command).await
}

/// Says that a generation is begun, and how many records it will have.
pub(crate) async fn begin(server: &Server, names: &Names, generation: u64, records: u64) -> Result<(), Failure> {
    let name = names.generations();
    let mut command = redis::cmd("HSET");
    command.arg(&name).arg(generation).arg(records);
    server.one::<i64>(Some(name.as_bytes()), command).await.map(|_| ())
}

/// A number for a new generation, larger than all there were.
pub(crate) async fn next_generation(server: &Server, names: &Names, largest: u64) -> Result<u64, Failure> {
    let name = names.sequence();
    let mut command = redis::cmd("INCR");
    command.arg(&name);
    let next = server.one::<u64>(Some(name.as_bytes()), command).await?;
    if next > largest {
        return Ok(next);
    }
    set(server, &name, &(largest + 1).to_string()).await?;
    Ok(largest + 1)
}

/// The keys of a chunk with the digests of their documents, as they are recorded.
pub(crate) fn record(chunk: &Chunk) -> Vec<u8> {
    // A digest, a length and a key, most of which are short.
    let mut bytes = Vec::with_capacity(32 * chunk.len());
    for (key, document) in chunk.iter() {
        bytes.extend_from_slice(&digest(document).to_le_bytes());
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(key);
    }
    bytes
}

/// What a record says: each key with the digest of its document.
fn read_record(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut keys = Vec::new();
    while let Some((digest, rest)) = bytes.split_first_chunk::<8>() {
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            break;
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((key, rest)) = rest.split_at_checked(length) else {
            break;
        };
        keys.push((u64::from_le_bytes(*digest), key));
        bytes = rest;
    }
    keys
}

/// Hands on the records of a generation, some keys at a time. Returns whether all were there.
pub(crate) async fn records(
    server: &Server,
    names: &Names,
    (generation, count): (u64, u64),
    mut each: impl AsyncFnMut(Vec<(u64, &[u8])>) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let style = Style {
        stored: Stored::String,
        ttl: None,
        persist: false,
        many: false,
    };
    let mut whole = true;
    let mut first = 0;
    while first < count {
        let keys: Vec<String> = (first..(first + RECORDS).min(count))
            .map(|chunk| names.record(generation, chunk))
            .collect();
        let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        for record in style.read(server, &keys).await? {
            match record {
                Some(record) => each(read_record(&record)).await?,
                None => whole = false,
            }
        }
        first += RECORDS;
    }
    Ok(whole)
}

/// Spills the records of a generation. Returns whether all were there.
pub(crate) async fn spill(
    server: &Server,
    names: &Names,
    generation: (u64, u64),
    spill: &mut Spill<Earlier>,
) -> Result<bool, Failure> {
    records(server, names, generation, async |keys| {
        for (digest, key) in keys {
            spill.push(&Earlier::of(digest, key))?;
        }
        Ok(())
    })
    .await
}

/// Forgets the records of a generation.
pub(crate) async fn forget(server: &Server, names: &Names, (generation, count): (u64, u64)) -> Result<(), Failure> {
    let mut first = 0;
    while first < count {
        let keys = (first..(first + RECORDS).min(count)).map(|chunk| names.record(generation, chunk));
        remove(server, &keys.collect::<Vec<_>>()).await?;
        first += RECORDS;
    }
    let name = names.generations();
    let mut command = redis::cmd("HDEL");
    command.arg(&name).arg(generation);
    server.one::<i64>(Some(name.as_bytes()), command).await.map(|_| ())
}

/// Numbers that servers tell of themselves, added up over the nodes: `INFO section`.
pub(crate) async fn info(server: &Server, section: &str, field: &str) -> Result<u64, Failure> {
    let mut command = redis::cmd("INFO");
    command.arg(section);
    let answers = server.all::<String>(&command).await?;
    let number = |text: &String| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse::<u64>().ok())
    };
    Ok(answers.iter().filter_map(number).sum())
}
