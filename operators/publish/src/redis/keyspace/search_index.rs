//! The index over vectors in a server that searches.

use std::time::Duration;

use redis::Value;

use crate::redis::client::connection::Failure;
use crate::redis::client::server::Server;
use crate::redis::vector_sink::{EMBEDDING, Metric, VectorSink};
use towline_api::{Context, OperatorError, Result};

/// How long the server may take to put all vectors into the index.
const INDEXING: Duration = Duration::from_hours(1);

impl VectorSink {
    /// Makes sure that there is an index of this kind, that it holds all vectors, and that the alias stands for it. Returns
    /// its own name.
    pub(crate) async fn index(&self, server: &Server, width: usize, context: &Context) -> Result<String, Failure> {
        let prefix = self.key.split_once('{').map_or(self.key.as_str(), |(prefix, _)| prefix);
        let metric = match self.metric {
            Metric::Ip => "IP",
            Metric::Cosine => "COSINE",
            Metric::L2 => "L2",
        };
        let kind = format!("{prefix}|{width}|{metric}|{}|{}", self.m, self.ef_construction);
        let name = format!("{}:{}", self.index, &blake3::hash(kind.as_bytes()).to_hex()[..8]);
        let mut list = redis::cmd("FT._LIST");
        let indexes: Vec<String> = server.one(None, std::mem::take(&mut list)).await?;
        if !indexes.contains(&name) {
            let mut create = redis::cmd("FT.CREATE");
            create
                .arg(&name)
                .arg("ON")
                .arg("HASH")
                .arg("PREFIX")
                .arg(1)
                .arg(prefix)
                .arg("SCHEMA")
                .arg(EMBEDDING);
            create
                .arg("VECTOR")
                .arg("HNSW")
                .arg(10)
                .arg("TYPE")
                .arg("FLOAT32")
                .arg("DIM")
                .arg(width);
            create.arg("DISTANCE_METRIC").arg(metric).arg("M").arg(self.m);
            create.arg("EF_CONSTRUCTION").arg(self.ef_construction);
            server.one::<()>(None, create).await?;
        }
        filled(server, &name, context).await?;
        let mut alias = redis::cmd("FT.ALIASUPDATE");
        alias.arg(&self.index).arg(&name);
        server.one::<()>(None, alias).await?;
        let before = format!("{}:", self.index);
        for old in indexes.iter().filter(|old| **old != name && old.starts_with(&before)) {
            let mut drop = redis::cmd("FT.DROPINDEX");
            drop.arg(old);
            server.one::<()>(None, drop).await?;
        }
        Ok(name)
    }
}

/// Waits until the server has put all vectors into an index.
async fn filled(server: &Server, name: &str, context: &Context) -> Result<(), Failure> {
    let started = std::time::Instant::now();
    loop {
        if fact(server, name, "indexing").await?.unwrap_or(0.0) == 0.0 {
            let failed = fact(server, name, "hash_indexing_failures").await?.unwrap_or(0.0);
            if failed > 0.0 {
                let text = format!("the index `{name}` could not take {failed} of the vectors");
                return Err(OperatorError::Server(text).into());
            }
            return Ok(());
        }
        if started.elapsed() > INDEXING {
            return Err(OperatorError::Server(format!("the index `{name}` is not filled after an hour")).into());
        }
        context.cancel.check()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A number that the server tells of an index.
pub(crate) async fn fact(server: &Server, name: &str, wanted: &str) -> Result<Option<f64>, Failure> {
    let mut info = redis::cmd("FT.INFO");
    info.arg(name);
    let facts: Vec<Value> = server.one(None, info).await?;
    Ok(facts.chunks(2).find_map(|pair| match pair {
        [key, value] if redis::from_redis_value_ref::<String>(key).is_ok_and(|key| key == wanted) => {
            redis::from_redis_value_ref::<f64>(value).ok()
        }
        _ => None,
    }))
}

/// An error if a server cannot search.
pub(crate) async fn has_search(server: &Server) -> Result<(), Failure> {
    let mut command = redis::cmd("COMMAND");
    command.arg("INFO").arg("FT.CREATE");
    let known: Vec<Value> = server.one(None, command).await?;
    if known
        .iter()
        .any(|command| matches!(command, Value::Array(parts) if !parts.is_empty()))
    {
        return Ok(());
    }
    Err(OperatorError::Server(
        "the server cannot search (`COMMAND INFO FT.CREATE` knows nothing): load the search module".to_owned(),
    )
    .into())
}
