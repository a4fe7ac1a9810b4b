//! Value format: encodes keys and documents as commands, and decodes replies.

use redis::{Cmd, Pipeline, Value};

use crate::batch::hash_fields::fields_of;
use crate::redis::client::client_error::{ClientError, check_reply, reply_as};
use crate::redis::client::server::Server;
use crate::redis::config::settings::{Encoding, ValueType};
use towline_api::{OperatorError, Result};

/// Maximum number of keys per MSET. The server serves nobody else meanwhile, and larger commands need larger buffers; more keys
/// are not faster.
const MSET_KEYS: usize = 8;
/// Maximum number of bytes per MSET, for the same reason.
const MSET_BYTES: usize = 4 << 10;
/// Maximum number of keys per JSON.MSET, where a key takes the server three times as long.
const JSON_MSET_KEYS: usize = 4;

/// Key and document.
pub(crate) type Item<'a> = (&'a [u8], &'a [u8]);

/// Format of the values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValueFormat {
    pub(crate) value_type: ValueType,
    /// Time to live in seconds.
    pub(crate) ttl: Option<u64>,
    /// Whether to remove the time to live of existing keys, which an earlier `ttl` has set.
    pub(crate) persist: bool,
    /// Whether one command may write several keys: not in a cluster, and JSON.MSET is newer than JSON.SET.
    pub(crate) multi_key: bool,
}

impl ValueFormat {
    /// Strings without a time to live, one per command.
    pub(crate) const STRING: Self = Self::of(ValueType::String);

    /// Values of a type without a time to live, one per command.
    pub(crate) const fn of(value_type: ValueType) -> Self {
        ValueFormat {
            value_type,
            ttl: None,
            persist: false,
            multi_key: false,
        }
    }

    /// Commands that write items, in the protocol that `redis-cli --pipe` reads.
    pub(crate) fn pack(self, items: &[Item<'_>]) -> Vec<u8> {
        self.commands(&self.groups(items)).get_packed_pipeline()
    }

    /// Groups of items that one command each writes; or two, if the time to live needs another one.
    fn groups<'i, 'd>(self, items: &'i [Item<'d>]) -> Vec<&'i [Item<'d>]> {
        let most = match self.value_type {
            ValueType::String if self.multi_key && self.ttl.is_none() => MSET_KEYS,
            ValueType::Json if self.multi_key && self.ttl.is_none() && !self.persist => JSON_MSET_KEYS,
            _ => return items.chunks(1).collect(),
        };
        let mut groups = Vec::with_capacity(items.len() / most + 1);
        let mut rest = items;
        while !rest.is_empty() {
            let (count, mut bytes) = (most.min(rest.len()), 0);
            let mut end = 0;
            while end < count {
                bytes += rest[end].0.len() + rest[end].1.len();
                if end > 0 && bytes > MSET_BYTES {
                    break;
                }
                end += 1;
            }
            let (group, others) = rest.split_at(end);
            groups.push(group);
            rest = others;
        }
        groups
    }

    /// Commands that write groups of items and replace existing values.
    fn commands(&self, groups: &[&[Item<'_>]]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(groups.len());
        for group in groups {
            self.set(group, &mut pipeline);
        }
        pipeline
    }

    fn set(&self, group: &[Item<'_>], pipeline: &mut Pipeline) {
        let ([(key, document)], value_type) = (group, self.value_type) else {
            let (name, path) = match self.value_type {
                ValueType::Json => ("JSON.MSET", Some("$")),
                _ => ("MSET", None),
            };
            let bytes: usize = group.iter().map(|(key, document)| key.len() + document.len() + 1).sum();
            let mut command = Cmd::with_capacity(3 * group.len() + 1, name.len() + bytes);
            command.arg(name);
            for (key, document) in group {
                command.arg(*key).arg(path).arg(*document);
            }
            pipeline.add_command(command);
            return;
        };
        match value_type {
            ValueType::String => {
                let command = pipeline.cmd("SET").arg(*key).arg(*document);
                if let Some(ttl) = self.ttl {
                    command.arg("EX").arg(ttl);
                }
            }
            ValueType::Json => {
                pipeline.cmd("JSON.SET").arg(*key).arg("$").arg(*document);
                // Unlike SET, JSON.SET keeps the time to live of the key.
                if let Some(ttl) = self.ttl {
                    pipeline.cmd("EXPIRE").arg(*key).arg(ttl);
                } else if self.persist {
                    pipeline.cmd("PERSIST").arg(*key);
                }
            }
            ValueType::Hash => self.replace((key, document), pipeline),
        }
    }

    /// Replaces one key in a transaction: the existing value may have another type, or fields that the new one lacks.
    fn replace(&self, (key, document): Item<'_>, pipeline: &mut Pipeline) {
        pipeline.cmd("MULTI").cmd("DEL").arg(key);
        match self.value_type {
            ValueType::String => pipeline.cmd("SET").arg(key).arg(document),
            ValueType::Json => pipeline.cmd("JSON.SET").arg(key).arg("$").arg(document),
            ValueType::Hash => pipeline.cmd("HSET").arg(key).arg(fields_of(document)),
        };
        if let Some(ttl) = self.ttl {
            pipeline.cmd("EXPIRE").arg(key).arg(ttl);
        }
        pipeline.cmd("EXEC");
    }

    /// Writes keys of one node. Values of another type are replaced.
    pub(crate) async fn write(&self, server: &Server, node: usize, items: &[Item<'_>]) -> Result<(), ClientError> {
        let mut left = self.send(server, node, items).await?;
        if self.multi_key && !left.is_empty() {
            // A command with several keys that failed has written none, and does not tell which key it failed on.
            left = ValueFormat {
                multi_key: false,
                ..*self
            }
            .send(server, node, &left)
            .await?;
        }
        if left.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::new();
        for item in left {
            self.replace(item, &mut pipeline);
        }
        let replies = server.send_once(node, &pipeline).await?;
        replies.iter().try_for_each(check_reply)
    }

    /// Writes keys of one node. Returns those that were not written: with values of another type, or in a command that failed.
    async fn send<'d>(&self, server: &Server, node: usize, items: &[Item<'d>]) -> Result<Vec<Item<'d>>, ClientError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let groups = self.groups(items);
        let replies = server.send_once(node, &self.commands(&groups)).await?;
        let each = replies.len() / groups.len();
        let mut left = Vec::new();
        for (index, reply) in replies.iter().enumerate() {
            match reply {
                Value::ServerError(error) => {
                    let group = groups[index / each];
                    if group.len() == 1 && !(self.value_type == ValueType::Json && is_other_type(error)) {
                        check_reply(reply)?;
                    }
                    left.extend_from_slice(group);
                }
                reply => check_reply(reply)?,
            }
        }
        Ok(left)
    }

    /// Renews or removes the time to live of unchanged keys. Returns the indices of those that are missing.
    pub(crate) async fn touch(&self, server: &Server, node: usize, keys: &[&[u8]]) -> Result<Vec<usize>, ClientError> {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            if self.persist {
                // Its reply is the same for a key without a time to live and a missing key.
                pipeline.cmd("PERSIST").arg(*key);
            }
            match self.ttl {
                Some(ttl) => pipeline.cmd("EXPIRE").arg(*key).arg(ttl),
                None => pipeline.cmd("EXISTS").arg(*key),
            };
        }
        let replies = server.send_once(node, &pipeline).await?;
        let each = if self.persist { 2 } else { 1 };
        let mut gone = Vec::new();
        for (index, reply) in replies.into_iter().skip(each - 1).step_by(each).enumerate() {
            if reply_as::<i64>(reply)? == 0 {
                gone.push(index);
            }
        }
        Ok(gone)
    }

    /// Reads documents from any nodes, normalised for comparison; `None` for missing keys and values of another type.
    pub(crate) async fn read(&self, server: &Server, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, ClientError> {
        let mut found = vec![None; keys.len()];
        server
            .with_retry(async || {
                for (node, indices) in server.group_by_node(keys.iter().copied()).await {
                    let mut pipeline = Pipeline::with_capacity(indices.len());
                    for index in &indices {
                        pipeline.add_command(self.reading(keys[*index]));
                    }
                    let replies = server.send_once(node, &pipeline).await?;
                    for (index, reply) in indices.into_iter().zip(replies) {
                        found[index] = self.document(reply)?;
                    }
                }
                Ok(())
            })
            .await?;
        Ok(found)
    }

    fn reading(&self, key: &[u8]) -> Cmd {
        let mut command = redis::cmd(self.value_type.read_command());
        command.arg(key);
        command
    }

    fn document(&self, reply: Value) -> Result<Option<Vec<u8>>, ClientError> {
        match reply {
            Value::ServerError(error) if is_other_type(&error) => Ok(None),
            Value::Array(parts) if self.value_type == ValueType::Hash => {
                if parts.is_empty() {
                    return Ok(None);
                }
                let mut fields = Vec::new();
                for pair in reply_as::<Vec<Vec<u8>>>(Value::Array(parts))?.chunks(2) {
                    fields.push(pair.to_vec());
                }
                fields.sort();
                Ok(Some(fields.concat().concat()))
            }
            reply => reply_as::<Option<Vec<u8>>>(reply),
        }
    }

    /// Whether a value that was read equals a document.
    pub(crate) fn equal(&self, document: &[u8], found: &[u8]) -> bool {
        match self.value_type {
            ValueType::String => document == found,
            ValueType::Json => {
                let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
                read(document).is_some_and(|document| read(found) == Some(document))
            }
            ValueType::Hash => {
                let mut fields: Vec<Vec<&[u8]>> = fields_of(document).chunks(2).map(<[&[u8]]>::to_vec).collect();
                fields.sort();
                fields.concat().concat() == found
            }
        }
    }
}

fn is_other_type(error: &redis::ServerError) -> bool {
    error.code() == "WRONGTYPE"
        || error.details().is_some_and(|text| text.contains("wrong Redis type"))
        || (error.code() == "Existing" && error.details().is_some_and(|text| text.contains("Redis type")))
}

/// Format of an encoding on a server that may lack RedisJSON or JSON.MSET.
pub(crate) async fn negotiate_format(
    server: &Server,
    encoding: Encoding,
    ttl: Option<u64>,
) -> Result<ValueFormat, ClientError> {
    let format = |value_type: ValueType, multi_key: bool| ValueFormat {
        ttl,
        multi_key: multi_key && !server.is_cluster(),
        ..ValueFormat::of(value_type)
    };
    match encoding {
        Encoding::String => return Ok(format(ValueType::String, true)),
        Encoding::Hash => return Ok(format(ValueType::Hash, false)),
        Encoding::Auto | Encoding::Json => {}
    }
    let mut command = redis::cmd("COMMAND");
    command.arg("INFO").arg("JSON.SET").arg("JSON.MSET");
    // All nodes of a cluster need the module.
    let replies = server.query_all_nodes::<Value>(&command).await?;
    let knows = |index: usize| {
        replies.iter().all(|reply| {
            let Value::Array(commands) = reply else { return false };
            matches!(commands.get(index), Some(Value::Array(parts)) if !parts.is_empty())
        })
    };
    match (knows(0), encoding) {
        (true, _) => Ok(format(ValueType::Json, knows(1))),
        (false, Encoding::Json) => Err(OperatorError::Server(
            "the server has no RedisJSON (`COMMAND INFO JSON.SET` returns nothing): load the module, or write `encoding: \
             string`"
                .to_owned(),
        )
        .into()),
        (false, _) => Ok(format(ValueType::String, true)),
    }
}
