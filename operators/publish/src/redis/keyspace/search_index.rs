//! HNSW index over vectors in a server with the search module.

use std::time::Duration;

use redis::Value;

use crate::redis::client::client_error::ClientError;
use crate::redis::client::server::Server;
use crate::redis::config::settings::Metric;
use towline_api::{Cancel, OperatorError, Result};

/// Column and hash field of the vectors.
pub(crate) const EMBEDDING: &str = "embedding";

/// Timeout until the server has indexed all vectors.
const INDEXING_TIMEOUT: Duration = Duration::from_hours(1);

/// Definition of an index.
pub(crate) struct SearchIndex<'a> {
    /// Alias that queries use.
    pub(crate) alias: &'a str,
    /// Pattern of the keys; the text before its first field is the prefix of the index.
    pub(crate) key: &'a str,
    /// Length of the vectors.
    pub(crate) dimension: usize,
    pub(crate) metric: Metric,
    /// HNSW parameter M.
    pub(crate) m: u32,
    pub(crate) ef_construction: u32,
}

impl SearchIndex<'_> {
    /// Creates the index if no index with this definition exists, waits until it holds all vectors, and moves the alias
    /// to it. Returns its name.
    pub(crate) async fn publish(&self, server: &Server, cancel: &Cancel) -> Result<String, ClientError> {
        let prefix = self.key.split_once('{').map_or(self.key, |(prefix, _)| prefix);
        let metric = match self.metric {
            Metric::Ip => "IP",
            Metric::Cosine => "COSINE",
            Metric::L2 => "L2",
        };
        let definition = format!(
            "{prefix}|{}|{metric}|{}|{}",
            self.dimension, self.m, self.ef_construction
        );
        let name = format!("{}:{}", self.alias, &blake3::hash(definition.as_bytes()).to_hex()[..8]);
        let indexes: Vec<String> = server.query(None, redis::cmd("FT._LIST")).await?;
        if !indexes.contains(&name) {
            server
                .query::<()>(None, self.create_command(&name, prefix, metric))
                .await?;
        }
        wait_until_indexed(server, &name, cancel).await?;
        let mut alias = redis::cmd("FT.ALIASUPDATE");
        alias.arg(self.alias).arg(&name);
        server.query::<()>(None, alias).await?;
        let of_alias = format!("{}:", self.alias);
        for old in indexes.iter().filter(|old| **old != name && old.starts_with(&of_alias)) {
            let mut drop = redis::cmd("FT.DROPINDEX");
            drop.arg(old);
            server.query::<()>(None, drop).await?;
        }
        Ok(name)
    }

    fn create_command(&self, name: &str, prefix: &str, metric: &str) -> redis::Cmd {
        let mut create = redis::cmd("FT.CREATE");
        create.arg(name).arg(&["ON", "HASH", "PREFIX", "1", prefix]);
        create.arg(&["SCHEMA", EMBEDDING, "VECTOR", "HNSW", "10"]);
        create.arg(&["TYPE", "FLOAT32", "DIM"]).arg(self.dimension);
        create.arg(&["DISTANCE_METRIC", metric, "M"]).arg(self.m);
        create.arg("EF_CONSTRUCTION").arg(self.ef_construction);
        create
    }
}

/// Waits until the server has indexed all vectors.
async fn wait_until_indexed(server: &Server, name: &str, cancel: &Cancel) -> Result<(), ClientError> {
    let started = std::time::Instant::now();
    while index_info(server, name, "indexing").await?.unwrap_or(0.0) != 0.0 {
        if started.elapsed() > INDEXING_TIMEOUT {
            return Err(OperatorError::Server(format!("the index `{name}` is not complete after an hour")).into());
        }
        cancel.check()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let failed = index_info(server, name, "hash_indexing_failures").await?.unwrap_or(0.0);
    if failed > 0.0 {
        let text = format!("the index `{name}` could not take {failed} of the vectors");
        return Err(OperatorError::Server(text).into());
    }
    Ok(())
}

/// Numeric field of `FT.INFO`.
pub(crate) async fn index_info(server: &Server, name: &str, field: &str) -> Result<Option<f64>, ClientError> {
    let mut info = redis::cmd("FT.INFO");
    info.arg(name);
    let fields: Vec<Value> = server.query(None, info).await?;
    Ok(fields.chunks(2).find_map(|pair| match pair {
        [key, value] if redis::from_redis_value_ref::<String>(key).is_ok_and(|key| key == field) => {
            redis::from_redis_value_ref::<f64>(value).ok()
        }
        _ => None,
    }))
}

/// An error if the server lacks the search module.
pub(crate) async fn require_search_module(server: &Server) -> Result<(), ClientError> {
    let mut command = redis::cmd("COMMAND");
    command.arg("INFO").arg("FT.CREATE");
    let known: Vec<Value> = server.query(None, command).await?;
    if known
        .iter()
        .any(|command| matches!(command, Value::Array(parts) if !parts.is_empty()))
    {
        return Ok(());
    }
    Err(OperatorError::Server(
        "the server cannot search (`COMMAND INFO FT.CREATE` returns nothing): load the search module".to_owned(),
    )
    .into())
}
