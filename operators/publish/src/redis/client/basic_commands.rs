//! Commands that many callers need.

use redis::Pipeline;

use crate::redis::client::client_error::{ClientError, reply_as};
use crate::redis::client::server::Server;

impl Server {
    /// `SET`.
    pub(crate) async fn set(&self, key: &str, value: &str) -> Result<(), ClientError> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(value);
        self.query::<()>(Some(key.as_bytes()), command).await
    }

    /// `GET`.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<String>, ClientError> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        self.query(Some(key.as_bytes()), command).await
    }

    /// `UNLINK` of keys on any nodes.
    pub(crate) async fn unlink<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<(), ClientError> {
        self.with_retry(async || {
            for (node, indices) in self.group_by_node(keys.iter().map(AsRef::as_ref)).await {
                let mut pipeline = Pipeline::with_capacity(indices.len());
                for index in indices {
                    pipeline.cmd("UNLINK").arg(keys[index].as_ref());
                }
                let replies = self.send_once(node, &pipeline).await?;
                replies
                    .into_iter()
                    .try_for_each(|reply| reply_as::<i64>(reply).map(|_| ()))?;
            }
            Ok(())
        })
        .await
    }

    /// `DBSIZE`.
    pub(crate) async fn key_count(&self) -> Result<u64, ClientError> {
        self.query(None, redis::cmd("DBSIZE")).await
    }

    /// Numeric field of `INFO section`, summed over all nodes.
    pub(crate) async fn info(&self, section: &str, field: &str) -> Result<u64, ClientError> {
        let mut command = redis::cmd("INFO");
        command.arg(section);
        let replies = self.query_all_nodes::<String>(&command).await?;
        let number = |text: &String| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            line.and_then(|number| number.trim().parse::<u64>().ok())
        };
        Ok(replies.iter().filter_map(number).sum())
    }
}
