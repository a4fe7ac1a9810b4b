//! A server, a cluster or the master that sentinels name: commands that survive broken connections.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Pipeline, Value};
use tokio::sync::RwLock;

use crate::redis::client::cluster_layout::{Layout, masters};
use crate::redis::client::connection::{Failure, Node, Security, check};
use crate::redis::config::address::{Address, Shape};
use towline_api::{OperatorError, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where to write, and how patiently.
pub(crate) struct Server {
    address: Address,
    security: Security,
    database: i64,
    connections: usize,
    /// How long to try again after a connection broke.
    patience: Duration,
    layout: RwLock<Layout>,
}

/// One or more keys, by the node that holds them.
pub(crate) type Owners = BTreeMap<usize, Vec<usize>>;

impl Server {
    /// Connects, and finds out where the keys are. A server that is not there is an error at once; one that is still
    /// loading its data is waited for.
    pub(crate) async fn open(
        address: Address,
        security: Security,
        database: i64,
        connections: usize,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let server = Server {
            address,
            security,
            database,
            connections,
            patience,
            layout: RwLock::new(Layout {
                nodes: Vec::new(),
                slots: None,
                version: 0,
            }),
        };
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match server.greet().await {
                Err(Failure::Loading) if started.elapsed() < patience => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                greeted => return greeted.map(|()| server),
            }
        }
    }

    /// Asks every node whether it takes commands: a server that wants a password accepts connections without one.
    async fn greet(&self) -> Result<(), Failure> {
        self.look(0).await?;
        for node in &self.layout.read().await.nodes {
            let mut ping = Pipeline::new();
            ping.cmd("PING");
            let answers = node.ask(&self.security, &ping).await?;
            answers.iter().try_for_each(check)?;
        }
        Ok(())
    }

    /// The same server, and another of its databases.
    pub(crate) async fn beside(&self, database: i64) -> Result<Self, Failure> {
        let (address, security) = (self.address.clone(), self.security.clone());
        Server::open(address, security, database, 1, self.patience).await
    }

    /// The database of the server.
    pub(crate) fn database(&self) -> i64 {
        self.database
    }

    /// Whether the keys are spread over several nodes.
    pub(crate) fn is_cluster(&self) -> bool {
        self.address.shape == Shape::Cluster
    }

    /// What tells the processes from others, in a fixed order.
    pub(crate) async fn processes(&self) -> Vec<String> {
        let mut processes = Vec::new();
        for node in &self.layout.read().await.nodes {
            processes.extend(node.process().await);
        }
        processes.sort();
        processes
    }

    /// How many nodes hold keys.
    pub(crate) async fn nodes(&self) -> usize {
        self.layout.read().await.nodes.len()
    }

    /// The places of keys in `keys`, by the node that holds them.
    pub(crate) async fn owners<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Owners {
        let layout = self.layout.read().await;
        let mut owners = Owners::new();
        if layout.slots.is_none() {
            let all: Vec<usize> = (0..keys.count()).collect();
            if !all.is_empty() {
                owners.insert(0, all);
            }
            return owners;
        }
        for (place, key) in keys.enumerate() {
            owners.entry(layout.owner(key)).or_default().push(place);
        }
        owners
    }

    /// Sends documents to the node at a place once; answers that ask to come again are failures.
    pub(crate) async fn try_send(&self, node: usize, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        passed_on(self.node(node).await?.send(&self.security, pipeline).await?)
    }

    /// The same with a few commands that do not wait for documents.
    async fn try_ask(&self, node: usize, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        passed_on(self.node(node).await?.ask(&self.security, pipeline).await?)
    }

    async fn node(&self, place: usize) -> Result<Arc<Node>, Failure> {
        let node = self.layout.read().await.nodes.get(place).cloned();
        node.ok_or_else(|| Failure::Moved("the nodes of the cluster have changed".to_owned()))
    }

    /// Waits until everything that was sent is executed, also what nobody waits for any more.
    pub(crate) async fn settle(&self) -> Result<(), Failure> {
        self.patiently(async || {
            for place in 0..self.nodes().await {
                self.node(place).await?.settle(&self.security).await?;
            }
            Ok(())
        })
        .await
    }

    /// Does `work` again and again while it fails for reasons that pass.
    pub(crate) async fn patiently<T>(&self, mut work: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let version = self.layout.read().await.version;
            let failed = match work().await {
                Err(failed @ (Failure::Passing(_) | Failure::Loading | Failure::Moved(_))) => failed,
                result => return result,
            };
            if started.elapsed() > self.patience {
                return Err(failed);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let moved = matches!(failed, Failure::Moved(_)) || self.address.shape != Shape::Single;
            if moved {
                match self.look(version).await {
                    Err(Failure::Passing(_) | Failure::Loading | Failure::Moved(_)) | Ok(()) => {}
                    Err(other) => return Err(other),
                }
            }
        }
    }

    /// Sends commands about one key (or about none) and waits for their answers; errors among them are errors. They must be
    /// such that it does no harm to execute them twice.
    pub(crate) async fn ask(&self, key: Option<&[u8]>, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        self.patiently(async || {
            let node = match key {
                Some(key) => self.layout.read().await.owner(key),
                None => 0,
            };
            let answers = self.try_ask(node, pipeline).await?;
            answers.iter().try_for_each(check)?;
            Ok(answers)
        })
        .await
    }

    /// The same for one command, with its answer as a value of some type.
    pub(crate) async fn one<T: FromRedisValue>(&self, key: Option<&[u8]>, command: redis::Cmd) -> Result<T, Failure> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(command);
        let answer = self.ask(key, &pipeline).await?.pop().unwrap_or_default();
        value(answer)
    }

    /// The answers of all nodes to a command.
    pub(crate) async fn all<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<Vec<T>, Failure> {
        let mut answers = Vec::new();
        for node in 0..self.nodes().await {
            let mut pipeline = Pipeline::new();
            pipeline.add_command(command.clone());
            let mut answer = self
                .patiently(async || {
                    let answers = self.try_ask(node, &pipeline).await?;
                    answers.iter().try_for_each(check)?;
                    Ok(answers)
                })
                .await?;
            answers.push(value(answer.pop().unwrap_or_default())?);
        }
        Ok(answers)
    }

    /// Looks where the keys are, unless somebody has looked since `version`. A process that was not known is an error: it
    /// may lack what was written before.
    async fn look(&self, version: u64) -> Result<(), Failure> {
        let mut layout = self.layout.write().await;
        if layout.version != version {
            return Ok(());
        }
        let first = layout.nodes.is_empty();
        let (masters, slots) = masters(&self.address, &self.security).await?;
        let mut known: HashMap<String, Arc<Node>> = HashMap::new();
        for node in &layout.nodes {
            known.insert(node.address(), Arc::clone(node));
        }
        let mut nodes = Vec::new();
        for master in masters {
            let address = master.addr().to_string();
            match known.remove(&address) {
                Some(node) => nodes.push(node),
                None if first => nodes.push(Arc::new(Node::new(master, self.database, self.connections, None))),
                None => {
                    return Err(Failure::Restarted(format!(
                        "{address} has taken over; what was written to the server before it is not there for sure"
                    )));
                }
            }
        }
        *layout = Layout {
            nodes,
            slots,
            version: version + 1,
        };
        Ok(())
    }
}

/// The answers, unless one of them asks to come again. Other errors are answers to single commands, which who asked looks at.
fn passed_on(answers: Vec<Value>) -> Result<Vec<Value>, Failure> {
    for answer in &answers {
        if let Err(failure @ (Failure::Passing(_) | Failure::Loading | Failure::Moved(_))) = check(answer) {
            return Err(failure);
        }
    }
    Ok(answers)
}

/// The answer as a value of some type.
pub(crate) fn value<T: FromRedisValue>(answer: Value) -> Result<T, Failure> {
    check(&answer)?;
    redis::from_redis_value::<T>(answer).map_err(|error| {
        Failure::Final(OperatorError::Server(format!(
            "the server answers something unexpected ({error})"
        )))
    })
}
