//! A server, a cluster or the master that sentinels name: where keys are, and commands that survive broken connections.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, ConnectionInfo, FromRedisValue, Pipeline, Value};
use tokio::sync::RwLock;

use super::address::{Address, Shape};
use super::connection::{Failure, Node, Security, check, failure, sentinel_failure};
use crate::contract::{OperatorError, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const SLOTS: usize = 16_384;

/// Where to write, and how patiently.
pub(super) struct Server {
    address: Address,
    security: Security,
    database: i64,
    connections: usize,
    /// How long to try again after a connection broke.
    patience: Duration,
    layout: RwLock<Layout>,
}

/// The processes that hold the keys.
struct Layout {
    nodes: Vec<Arc<Node>>,
    /// In a cluster: the place of the node of each slot.
    slots: Option<Vec<u16>>,
    /// Counts the changes.
    version: u64,
}

/// One or more keys, by the node that holds them.
pub(super) type Owners = BTreeMap<usize, Vec<usize>>;

impl Server {
    /// Connects, and finds out where the keys are. A server that is not there is an error at once; one that is still
    /// loading its data is waited for.
    pub(super) async fn open(
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

    /// The database of the server.
    pub(super) fn database(&self) -> i64 {
        self.database
    }

    /// Whether the keys are spread over several nodes.
    pub(super) fn is_cluster(&self) -> bool {
        self.address.shape == Shape::Cluster
    }

    /// What tells the processes from others, in a fixed order.
    pub(super) async fn processes(&self) -> Vec<String> {
        let mut processes = Vec::new();
        for node in &self.layout.read().await.nodes {
            processes.extend(node.process().await);
        }
        processes.sort();
        processes
    }

    /// How many nodes hold keys.
    pub(super) async fn nodes(&self) -> usize {
        self.layout.read().await.nodes.len()
    }

    /// The places of keys in `keys`, by the node that holds them.
    pub(super) async fn owners<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Owners {
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
    pub(super) async fn try_send(&self, node: usize, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
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
    pub(super) async fn settle(&self) -> Result<(), Failure> {
        self.patiently(async || {
            for place in 0..self.nodes().await {
                self.node(place).await?.settle(&self.security).await?;
            }
            Ok(())
        })
        .await
    }

    /// Does `work` again and again while it fails for reasons that pass.
    pub(super) async fn patiently<T>(&self, mut work: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
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
    pub(super) async fn ask(&self, key: Option<&[u8]>, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
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
    pub(super) async fn one<T: FromRedisValue>(&self, key: Option<&[u8]>, command: redis::Cmd) -> Result<T, Failure> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(command);
        let answer = self.ask(key, &pipeline).await?.pop().unwrap_or_default();
        value(answer)
    }

    /// The answers of all nodes to a command.
    pub(super) async fn all<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<Vec<T>, Failure> {
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
        let (masters, slots) = match &self.address.shape {
            Shape::Single => (self.address.seeds.clone(), None),
            Shape::Sentinel { service } => (vec![self.master(service).await?], None),
            Shape::Cluster => self.cluster().await?,
        };
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

    /// The master that the sentinels name.
    async fn master(&self, service: &str) -> Result<ConnectionInfo, Failure> {
        let mut last = Failure::Passing("no sentinel answers".to_owned());
        for seed in &self.address.seeds {
            let mut connection = match self.security.open_sentinel(seed).await {
                Ok(connection) => connection,
                Err(error) => {
                    last = sentinel_failure(&error);
                    continue;
                }
            };
            let mut command = redis::cmd("SENTINEL");
            command.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
            let named: Result<Option<(String, u16)>, _> = command.query_async(&mut connection).await;
            match named {
                Ok(Some((host, port))) => return Ok(seed.clone().set_addr(moved_to(seed.addr(), host, port))),
                Ok(None) => {
                    let text = format!("the sentinel knows no service `{service}`; check the name in `url`");
                    return Err(OperatorError::Server(text).into());
                }
                Err(error) => last = sentinel_failure(&error),
            }
        }
        Err(last)
    }

    /// The masters of the cluster, and the place of the master of each slot.
    async fn cluster(&self) -> Result<(Vec<ConnectionInfo>, Option<Vec<u16>>), Failure> {
        let mut last = Failure::Passing("no node of the cluster answers".to_owned());
        for seed in &self.address.seeds {
            let mut connection = match self.security.open(seed, 0).await {
                Ok(connection) => connection,
                Err(error) => {
                    last = failure(&error);
                    continue;
                }
            };
            let answer: Result<Value, _> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await;
            match answer {
                Ok(answer) => return slots(seed, &answer),
                Err(error) => last = failure(&error),
            }
        }
        match last {
            Failure::Final(OperatorError::Server(text)) if text.contains("cluster support disabled") => {
                let text = "the server is no node of a cluster; write `redis://` or `rediss://` in `url`";
                Err(OperatorError::Server(text.to_owned()).into())
            }
            last => Err(last),
        }
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

impl Layout {
    fn owner(&self, key: &[u8]) -> usize {
        let Some(slots) = &self.slots else { return 0 };
        slots.get(slot(key)).map_or(0, |node| usize::from(*node))
    }
}

/// The slot of a key in a cluster: CRC16 (XMODEM) of what stands in the first braces, or of the whole key.
fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    let crc = tag.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    usize::from(crc) % SLOTS
}

/// The answer as a value of some type.
pub(super) fn value<T: FromRedisValue>(answer: Value) -> Result<T, Failure> {
    check(&answer)?;
    redis::from_redis_value::<T>(answer).map_err(|error| {
        Failure::Final(OperatorError::Server(format!(
            "the server answers something unexpected ({error})"
        )))
    })
}

fn moved_to(seed: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match seed {
        ConnectionAddr::TcpTls {
            insecure, tls_params, ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    }
}

/// The answer to CLUSTER SLOTS: ranges of slots, each with its master first.
fn slots(seed: &ConnectionInfo, answer: &Value) -> Result<(Vec<ConnectionInfo>, Option<Vec<u16>>), Failure> {
    let unexpected = || Failure::Passing("the cluster does not say which node holds which slots".to_owned());
    let Value::Array(ranges) = answer else {
        return Err(unexpected());
    };
    let mut masters: BTreeMap<(String, u16), Vec<(usize, usize)>> = BTreeMap::new();
    for range in ranges {
        let Value::Array(range) = range else {
            return Err(unexpected());
        };
        let [Value::Int(from), Value::Int(to), Value::Array(master), ..] = range.as_slice() else {
            return Err(unexpected());
        };
        let [host, Value::Int(port), ..] = master.as_slice() else {
            return Err(unexpected());
        };
        // An empty name is the node that was asked.
        let named = redis::from_redis_value_ref::<Option<String>>(host).ok().flatten();
        let host = named
            .filter(|host| !host.is_empty())
            .unwrap_or_else(|| host_of(seed.addr()));
        masters
            .entry((host, *port as u16))
            .or_default()
            .push((*from as usize, *to as usize));
    }
    let mut places = vec![u16::MAX; SLOTS];
    let mut nodes = Vec::new();
    for (place, ((host, port), ranges)) in masters.into_iter().enumerate() {
        for (from, to) in ranges {
            for slot in places.get_mut(from..=to).ok_or_else(unexpected)? {
                *slot = place as u16;
            }
        }
        nodes.push(seed.clone().set_addr(moved_to(seed.addr(), host, port)));
    }
    if places.contains(&u16::MAX) {
        return Err(Failure::Moved(
            "the cluster is not whole: some slots have no node".to_owned(),
        ));
    }
    Ok((nodes, Some(places)))
}

fn host_of(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_documentation() {
        // From the specification of Redis Cluster.
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"RECS:7:{USER:42}"), slot(b"USER:42"));
    }
}
