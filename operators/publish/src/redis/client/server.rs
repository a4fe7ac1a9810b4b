//! Server: one process, a cluster, or the master that sentinels name; requests survive broken connections.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Pipeline, Value};
use tokio::sync::RwLock;

use crate::redis::client::client_error::{ClientError, check_reply, check_retryable, reply_as};
use crate::redis::client::connector::Connector;
use crate::redis::client::node::Node;
use crate::redis::client::node_map::{NodeMap, discover};
use crate::redis::config::address::{Address, Topology};

const MIN_BACKOFF: Duration = Duration::from_millis(20);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Server, cluster or Sentinel-managed master, with retries.
pub(crate) struct Server {
    address: Address,
    connector: Connector,
    database: i64,
    connections: usize,
    retry_timeout: Duration,
    nodes: RwLock<NodeMap>,
}

/// Indices of keys, grouped by the node that holds them.
pub(crate) type KeysByNode = BTreeMap<usize, Vec<usize>>;

impl Server {
    /// Connects and discovers the nodes. A server that is down is an error at once; one that is loading its data is retried.
    pub(crate) async fn open(
        address: Address,
        connector: Connector,
        database: i64,
        connections: usize,
        retry_timeout: Duration,
    ) -> Result<Self, ClientError> {
        let server = Server {
            address,
            connector,
            database,
            connections,
            retry_timeout,
            nodes: RwLock::default(),
        };
        let started = Instant::now();
        let mut backoff = MIN_BACKOFF;
        loop {
            match server.ping_all().await {
                Err(ClientError::Loading) if started.elapsed() < retry_timeout => {
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                }
                result => return result.map(|()| server),
            }
        }
    }

    /// Sends `PING` to every node: a server that requires a password accepts connections without one.
    async fn ping_all(&self) -> Result<(), ClientError> {
        self.refresh_nodes(0).await?;
        for node in &self.nodes.read().await.nodes {
            let mut ping = Pipeline::new();
            ping.cmd("PING");
            let replies = node.request(&self.connector, &ping).await?;
            replies.iter().try_for_each(check_reply)?;
        }
        Ok(())
    }

    /// Opens another database of the same server.
    pub(crate) async fn other_database(&self, database: i64) -> Result<Self, ClientError> {
        let (address, connector) = (self.address.clone(), self.connector.clone());
        Server::open(address, connector, database, 1, self.retry_timeout).await
    }

    /// Number of the database.
    pub(crate) fn database(&self) -> i64 {
        self.database
    }

    /// Whether it is a cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        self.address.topology == Topology::Cluster
    }

    /// `run_id`s of all processes, sorted.
    pub(crate) async fn process_ids(&self) -> Vec<String> {
        let mut processes = Vec::new();
        for node in &self.nodes.read().await.nodes {
            processes.extend(node.process_id().await);
        }
        processes.sort();
        processes
    }

    async fn node_count(&self) -> usize {
        self.nodes.read().await.nodes.len()
    }

    /// Groups the indices of keys by the node that holds them.
    pub(crate) async fn group_by_node<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> KeysByNode {
        let nodes = self.nodes.read().await;
        let mut groups = KeysByNode::new();
        for (index, key) in keys.enumerate() {
            groups.entry(nodes.owner(key)).or_default().push(index);
        }
        groups
    }

    /// Sends documents to a node, without retries; replies that ask to retry are errors.
    pub(crate) async fn send_once(&self, node: usize, pipeline: &Pipeline) -> Result<Vec<Value>, ClientError> {
        check_retryable(self.node(node).await?.send(&self.connector, pipeline).await?)
    }

    async fn request_once(&self, node: usize, pipeline: &Pipeline) -> Result<Vec<Value>, ClientError> {
        let replies = check_retryable(self.node(node).await?.request(&self.connector, pipeline).await?)?;
        replies.iter().try_for_each(check_reply)?;
        Ok(replies)
    }

    async fn node(&self, index: usize) -> Result<Arc<Node>, ClientError> {
        let node = self.nodes.read().await.nodes.get(index).cloned();
        node.ok_or_else(|| ClientError::TopologyChanged("the nodes of the cluster have changed".to_owned()))
    }

    /// Waits until everything that was sent is executed, including requests whose callers were cancelled.
    pub(crate) async fn drain(&self) -> Result<(), ClientError> {
        self.with_retry(async || {
            for index in 0..self.node_count().await {
                self.node(index).await?.drain(&self.connector).await?;
            }
            Ok(())
        })
        .await
    }

    /// Retries `work` with exponential backoff while its errors are retryable.
    pub(crate) async fn with_retry<T>(
        &self,
        mut work: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let started = Instant::now();
        let mut backoff = MIN_BACKOFF;
        loop {
            let version = self.nodes.read().await.version;
            let error = match work().await {
                Err(error) if error.is_retryable() => error,
                result => return result,
            };
            if started.elapsed() > self.retry_timeout {
                return Err(error);
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
            let may_have_moved =
                matches!(error, ClientError::TopologyChanged(_)) || self.address.topology != Topology::Single;
            if may_have_moved
                && let Err(error) = self.refresh_nodes(version).await
                && !error.is_retryable()
            {
                return Err(error);
            }
        }
    }

    /// Sends one command about `key` (or about no key), with retries; the command must be idempotent.
    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        key: Option<&[u8]>,
        command: redis::Cmd,
    ) -> Result<T, ClientError> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(command);
        let mut replies = self
            .with_retry(async || {
                let node = match key {
                    Some(key) => self.nodes.read().await.owner(key),
                    None => 0,
                };
                self.request_once(node, &pipeline).await
            })
            .await?;
        reply_as(replies.pop().unwrap_or_default())
    }

    /// Sends one command to every node, with retries.
    pub(crate) async fn query_all_nodes<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<Vec<T>, ClientError> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(command.clone());
        let mut replies = Vec::new();
        for node in 0..self.node_count().await {
            let mut reply = self
                .with_retry(async || self.request_once(node, &pipeline).await)
                .await?;
            replies.push(reply_as(reply.pop().unwrap_or_default())?);
        }
        Ok(replies)
    }

    /// Discovers the nodes again, unless a concurrent caller has done so since `version`. An unknown node is an error: it may
    /// lack acknowledged writes.
    async fn refresh_nodes(&self, version: u64) -> Result<(), ClientError> {
        let mut current = self.nodes.write().await;
        if current.version != version {
            return Ok(());
        }
        let first = current.nodes.is_empty();
        let (masters, slots) = discover(&self.address, &self.connector).await?;
        let mut known: HashMap<String, Arc<Node>> = HashMap::new();
        for node in &current.nodes {
            known.insert(node.address(), Arc::clone(node));
        }
        let mut nodes = Vec::new();
        for master in masters {
            let address = master.addr().to_string();
            match known.remove(&address) {
                Some(node) => nodes.push(node),
                None if first => nodes.push(Arc::new(Node::new(master, self.database, self.connections))),
                None => {
                    return Err(ClientError::ServerReplaced(format!(
                        "{address} is a new master and may lack what was written to the one before"
                    )));
                }
            }
        }
        *current = NodeMap {
            nodes,
            slots,
            version: version + 1,
        };
        Ok(())
    }
}
