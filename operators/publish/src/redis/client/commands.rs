//! Keys and documents as commands, and back.

use redis::{Cmd, Pipeline, Value};

use crate::batch::hash_fields::fields_of;
use crate::redis::client::connection::{Failure, check};
use crate::redis::client::server::{Server, value};
use crate::redis::config::settings::{Encoding, Stored};
use towline_api::{OperatorError, Result};

/// Keys in one MSET. The server does nothing else meanwhile, and makes its buffer the larger the longer a command is; with more
/// keys it is no faster.
const MSET_KEYS: usize = 8;
/// Bytes in one MSET, for the same reason.
const MSET_BYTES: usize = 4 << 10;
/// Keys in one JSON.MSET, each of which takes the server three times as long.
const JSON_MSET_KEYS: usize = 4;

/// A key to be written: the key itself, and its document.
pub(crate) type Item<'a> = (&'a [u8], &'a [u8]);

/// How keys are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) stored: Stored,
    /// Seconds until a key goes by itself.
    pub(crate) ttl: Option<u64>,
    /// Whether keys may still go by themselves, from when there was a `ttl`, and must not any more.
    pub(crate) persist: bool,
    /// Whether one command may name several keys; in a cluster it may not, and JSON.MSET came later than JSON.SET.
    pub(crate) many: bool,
}

impl Style {
    /// The items in groups that are written by one command each; or by two, where a key gets a time of its own.
    fn groups<'i, 'd>(self, items: &'i [Item<'d>]) -> Vec<&'i [Item<'d>]> {
        let most = match self.stored {
            Stored::String if self.many && self.ttl.is_none() => MSET_KEYS,
            Stored::Json if self.many && self.ttl.is_none() && !self.persist => JSON_MSET_KEYS,
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

    /// The commands that write groups of keys, each of which replaces whatever is there.
    fn commands(&self, groups: &[&[Item<'_>]]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(groups.len());
        for group in groups {
            self.set(group, &mut pipeline);
        }
        pipeline
    }

    fn set(&self, group: &[Item<'_>], pipeline: &mut Pipeline) {
        let ([(key, document)], stored) = (group, self.stored) else {
            let (name, path) = match self.stored {
                Stored::Json => ("JSON.MSET", Some("$")),
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
        match stored {
            Stored::String => {
                let command = pipeline.cmd("SET").arg(*key).arg(*document);
                if let Some(ttl) = self.ttl {
                    command.arg("EX").arg(ttl);
                }
            }
            Stored::Json => {
                pipeline.cmd("JSON.SET").arg(*key).arg("$").arg(*document);
                // Unlike SET, it leaves the key the time that it has.
                if let Some(ttl) = self.ttl {
                    pipeline.cmd("EXPIRE").arg(*key).arg(ttl);
                } else if self.persist {
                    pipeline.cmd("PERSIST").arg(*key);
                }
            }
            Stored::Hash => self.replace((key, document), pipeline),
        }
    }

    /// Writes one key in a transaction of its own that first removes what is there: a value of another type, or fields that
    /// the new document does not have.
    fn replace(&self, (key, document): Item<'_>, pipeline: &mut Pipeline) {
        pipeline.cmd("MULTI").cmd("DEL").arg(key);
        match self.stored {
            Stored::String => pipeline.cmd("SET").arg(key).arg(document),
            Stored::Json => pipeline.cmd("JSON.SET").arg(key).arg("$").arg(document),
            Stored::Hash => pipeline.cmd("HSET").arg(key).arg(fields_of(document)),
        };
        if let Some(ttl) = self.ttl {
            pipeline.cmd("EXPIRE").arg(key).arg(ttl);
        }
        pipeline.cmd("EXEC");
    }

    /// Writes keys of one node. Keys that hold something of another type are replaced.
    pub(crate) async fn write(&self, server: &Server, node: usize, items: &[Item<'_>]) -> Result<(), Failure> {
        let mut left = self.send(server, node, items).await?;
        if self.many && !left.is_empty() {
            // A command with several keys has written none of them, and does not say which one it was.
            left = Style { many: false, ..*self }.send(server, node, &left).await?;
        }
        if left.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::new();
        for item in left {
            self.replace(item, &mut pipeline);
        }
        let answers = server.try_send(node, &pipeline).await?;
        answers.iter().try_for_each(check)
    }

    /// Writes keys of one node, and returns those that were not written: because they hold something of another type, or were
    /// in a command with others that failed.
    async fn send<'d>(&self, server: &Server, node: usize, items: &[Item<'d>]) -> Result<Vec<Item<'d>>, Failure> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let groups = self.groups(items);
        let answers = server.try_send(node, &self.commands(&groups)).await?;
        let each = answers.len() / groups.len();
        let mut left = Vec::new();
        for (place, answer) in answers.iter().enumerate() {
            match answer {
                Value::ServerError(error) => {
                    let group = groups[place / each];
                    if group.len() == 1 && !(self.stored == Stored::Json && is_other_type(error)) {
                        check(answer)?;
                    }
                    left.extend_from_slice(group);
                }
                answer => check(answer)?,
            }
        }
        Ok(left)
    }

    /// Looks whether keys that need not be written are there, and gives them their time anew, or takes it from them. Returns
    /// the places of those that are gone.
    pub(crate) async fn touch(&self, server: &Server, node: usize, keys: &[&[u8]]) -> Result<Vec<usize>, Failure> {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            if self.persist {
                // Its answer does not tell a key without a time from one that is not there.
                pipeline.cmd("PERSIST").arg(*key);
            }
            match self.ttl {
                Some(ttl) => pipeline.cmd("EXPIRE").arg(*key).arg(ttl),
                None => pipeline.cmd("EXISTS").arg(*key),
            };
        }
        let answers = server.try_send(node, &pipeline).await?;
        let each = if self.persist { 2 } else { 1 };
        let mut gone = Vec::new();
        for (place, answer) in answers.into_iter().skip(each - 1).step_by(each).enumerate() {
            if value::<i64>(answer)? == 0 {
                gone.push(place);
            }
        }
        Ok(gone)
    }

    /// The documents under some keys of any nodes, in a form that can be compared; nothing for keys that are not there or
    /// hold something else.
    pub(crate) async fn read(&self, server: &Server, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let mut found = vec![None; keys.len()];
        server
            .patiently(async || {
                for (node, places) in server.owners(keys.iter().copied()).await {
                    let mut pipeline = Pipeline::with_capacity(places.len());
                    for place in &places {
                        pipeline.add_command(self.reading(keys[*place]));
                    }
                    let answers = server.try_send(node, &pipeline).await?;
                    for (place, answer) in places.into_iter().zip(answers) {
                        found[place] = self.document(answer)?;
                    }
                }
                Ok(())
            })
            .await?;
        Ok(found)
    }

    fn reading(&self, key: &[u8]) -> Cmd {
        let mut command = redis::cmd(match self.stored {
            Stored::String => "GET",
            Stored::Json => "JSON.GET",
            Stored::Hash => "HGETALL",
        });
        command.arg(key);
        command
    }

    fn document(&self, answer: Value) -> Result<Option<Vec<u8>>, Failure> {
        match answer {
            Value::ServerError(error) if is_other_type(&error) => Ok(None),
            Value::Array(parts) if self.stored == Stored::Hash => {
                if parts.is_empty() {
                    return Ok(None);
                }
                let mut fields = Vec::new();
                for pair in value::<Vec<Vec<u8>>>(Value::Array(parts))?.chunks(2) {
                    fields.push(pair.to_vec());
                }
                fields.sort();
                Ok(Some(fields.concat().concat()))
            }
            answer => value::<Option<Vec<u8>>>(answer),
        }
    }

    /// Whether what was read is the document.
    pub(crate) fn equal(&self, document: &[u8], found: &[u8]) -> bool {
        match self.stored {
            Stored::String => document == found,
            Stored::Json => {
                let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
                read(document).is_some_and(|document| read(found) == Some(document))
            }
            Stored::Hash => {
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

/// How documents are stored by a server that may or may not have RedisJSON, and may know JSON.MSET or not.
pub(crate) async fn style_of(server: &Server, encoding: Encoding, ttl: Option<u64>) -> Result<Style, Failure> {
    let style = |stored, many| Style {
        stored,
        ttl,
        persist: false,
        many: many && !server.is_cluster(),
    };
    match encoding {
        Encoding::String => return Ok(style(Stored::String, true)),
        Encoding::Hash => return Ok(style(Stored::Hash, false)),
        Encoding::Auto | Encoding::Json => {}
    }
    let mut command = redis::cmd("COMMAND");
    command.arg("INFO").arg("JSON.SET").arg("JSON.MSET");
    // A cluster has the module only if every node has it.
    let answers = server.all::<Value>(&command).await?;
    let knows = |place: usize| {
        answers.iter().all(|answer| {
            let Value::Array(commands) = answer else { return false };
            matches!(commands.get(place), Some(Value::Array(parts)) if !parts.is_empty())
        })
    };
    match (knows(0), encoding) {
        (true, _) => Ok(style(Stored::Json, knows(1))),
        (false, Encoding::Json) => Err(OperatorError::Server(
            "the server has no RedisJSON (`COMMAND INFO JSON.SET` knows nothing): load the module, or write `encoding: \
             string`"
                .to_owned(),
        )
        .into()),
        (false, _) => Ok(style(Stored::String, true)),
    }
}

/// The documents as bytes that `redis-cli --pipe` takes.
pub(crate) fn packed(style: Style, items: &[Item<'_>]) -> Vec<u8> {
    style.commands(&style.groups(items)).get_packed_pipeline()
}
