//! Keys and documents as commands, and back.

use redis::{Cmd, Pipeline, Value};

use super::connection::{Failure, check};
use super::server::{Server, value};
use super::settings::Stored;
use crate::contract::{OperatorError, Result};
use crate::sink::documents::fields_of;

/// Keys in one MSET: the server does nothing else meanwhile, and a reader should not notice.
const MSET_KEYS: usize = 64;
/// Bytes in one MSET, for the same reason.
const MSET_BYTES: usize = 16 << 10;

/// A key to be written: the key itself, and its document.
pub(super) type Item<'a> = (&'a [u8], &'a [u8]);

/// How keys are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) stored: Stored,
    /// Seconds until a key goes by itself.
    pub(super) ttl: Option<u64>,
    /// Whether keys may still go by themselves, from when there was a `ttl`, and must not any more.
    pub(super) persist: bool,
    /// Whether one command may name several keys; in a cluster it may not.
    pub(super) many: bool,
}

impl Style {
    /// The commands that write some keys, each of which replaces whatever is there.
    pub(super) fn commands(&self, items: &[Item<'_>]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(items.len());
        match (self.stored, self.ttl) {
            (Stored::String, None) if self.many => sets(items, &mut pipeline),
            (Stored::String, ttl) => {
                for (key, document) in items {
                    let command = pipeline.cmd("SET").arg(*key).arg(*document);
                    if let Some(ttl) = ttl {
                        command.arg("EX").arg(ttl);
                    }
                }
            }
            (Stored::Json, ttl) => {
                for (key, document) in items {
                    pipeline.cmd("JSON.SET").arg(*key).arg("$").arg(*document);
                    // Unlike SET, it leaves the key the time that it has.
                    if let Some(ttl) = ttl {
                        pipeline.cmd("EXPIRE").arg(*key).arg(ttl);
                    } else if self.persist {
                        pipeline.cmd("PERSIST").arg(*key);
                    }
                }
            }
            (Stored::Hash, _) => items.iter().for_each(|item| self.replace(*item, &mut pipeline)),
        }
        pipeline
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
    pub(super) async fn write(&self, server: &Server, node: usize, items: &[Item<'_>]) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        let answers = server.try_send(node, &self.commands(items)).await?;
        let mut others = Vec::new();
        for (place, answer) in answers.iter().enumerate() {
            match answer {
                Value::ServerError(error) if self.stored == Stored::Json && is_other_type(error) => {
                    let item = place / if self.ttl.is_some() || self.persist { 2 } else { 1 };
                    others.push(items[item]);
                }
                answer => check(answer)?,
            }
        }
        if !others.is_empty() {
            let mut pipeline = Pipeline::new();
            for item in others {
                self.replace(item, &mut pipeline);
            }
            let answers = server.try_send(node, &pipeline).await?;
            answers.iter().try_for_each(check)?;
        }
        Ok(())
    }

    /// Looks whether keys that need not be written are there, and gives them their time anew, or takes it from them. Returns
    /// the places of those that are gone.
    pub(super) async fn touch(&self, server: &Server, node: usize, keys: &[&[u8]]) -> Result<Vec<usize>, Failure> {
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
    pub(super) async fn read(&self, server: &Server, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
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
    pub(super) fn equal(&self, document: &[u8], found: &[u8]) -> bool {
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

/// As few commands as can be: a reader waits for one at most.
fn sets(items: &[Item<'_>], pipeline: &mut Pipeline) {
    let mut rest = items;
    while !rest.is_empty() {
        let mut bytes = 0;
        let mut fits = |(key, document): &Item<'_>| {
            bytes += key.len() + document.len();
            bytes <= MSET_BYTES
        };
        let count = rest.iter().take(MSET_KEYS).take_while(|item| fits(item)).count().max(1);
        let (group, others) = rest.split_at(count);
        let command = pipeline.cmd("MSET");
        for (key, document) in group {
            command.arg(*key).arg(*document);
        }
        rest = others;
    }
}

fn is_other_type(error: &redis::ServerError) -> bool {
    error.code() == "WRONGTYPE"
        || error.details().is_some_and(|text| text.contains("wrong Redis type"))
        || (error.code() == "Existing" && error.details().is_some_and(|text| text.contains("Redis type")))
}

/// How documents are stored by a server that may or may not have RedisJSON.
pub(super) async fn stored_by(server: &Server, encoding: super::settings::Encoding) -> Result<Stored, Failure> {
    use super::settings::Encoding;
    if matches!(encoding, Encoding::String) {
        return Ok(Stored::String);
    }
    if matches!(encoding, Encoding::Hash) {
        return Ok(Stored::Hash);
    }
    let mut command = redis::cmd("COMMAND");
    command.arg("INFO").arg("JSON.SET");
    // A cluster has the module only if every node has it.
    let answers = server.all::<Value>(&command).await?;
    let has = |answer: &Value| match answer {
        Value::Array(commands) => commands
            .iter()
            .any(|command| matches!(command, Value::Array(parts) if !parts.is_empty())),
        _ => false,
    };
    match (answers.iter().all(has), encoding) {
        (true, _) => Ok(Stored::Json),
        (false, Encoding::Json) => Err(OperatorError::Server(
            "the server has no RedisJSON (`COMMAND INFO JSON.SET` knows nothing): load the module, or write `encoding: \
             string`"
                .to_owned(),
        )
        .into()),
        (false, _) => Ok(Stored::String),
    }
}

/// The documents as bytes that `redis-cli --pipe` takes.
pub(super) fn packed(style: Style, items: &[Item<'_>]) -> Vec<u8> {
    style.commands(items).get_packed_pipeline()
}
