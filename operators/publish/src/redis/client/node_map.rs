//! Node map: which nodes hold the keys, discovered from sentinels or from the nodes of a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use redis::cluster_routing::Slot;
use redis::{ConnectionAddr, ConnectionInfo, Value};

use crate::redis::client::client_error::{ClientError, classify, classify_sentinel_error};
use crate::redis::client::connector::Connector;
use crate::redis::client::node::Node;
use crate::redis::config::address::{Address, Topology};
use towline_api::{OperatorError, Result};

/// Slots of every cluster.
const SLOTS: usize = 16_384;

/// Index of the node that holds each slot.
pub(crate) type NodeOfSlot = HashMap<Slot, usize>;

/// Nodes that hold the keys.
#[derive(Default)]
pub(crate) struct NodeMap {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// In a cluster: index of the node that holds each slot.
    pub(crate) slots: Option<NodeOfSlot>,
    /// Incremented by every change.
    pub(crate) version: u64,
}

impl NodeMap {
    /// Index of the node that holds a key.
    pub(crate) fn owner(&self, key: &[u8]) -> usize {
        let node = self.slots.as_ref().and_then(|slots| slots.get(&Slot::for_key(key)));
        node.copied().unwrap_or(0)
    }
}

/// Master nodes, and in a cluster the index of the node of each slot.
pub(crate) type Masters = (Vec<ConnectionInfo>, Option<NodeOfSlot>);

/// Discovers the master nodes behind an address.
pub(crate) async fn discover(address: &Address, connector: &Connector) -> Result<Masters, ClientError> {
    match &address.topology {
        Topology::Single => Ok((address.seeds.clone(), None)),
        Topology::Sentinel { service } => Ok((vec![master(address, connector, service).await?], None)),
        Topology::Cluster => cluster(address, connector).await,
    }
}

/// Master that the first reachable sentinel names.
async fn master(address: &Address, connector: &Connector, service: &str) -> Result<ConnectionInfo, ClientError> {
    let mut last = ClientError::Transient("no sentinel answers".to_owned());
    for seed in &address.seeds {
        let mut connection = match connector.open_sentinel(seed).await {
            Ok(connection) => connection,
            Err(error) => {
                last = classify_sentinel_error(&error);
                continue;
            }
        };
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let named: Result<Option<(String, u16)>, _> = command.query_async(&mut connection).await;
        match named {
            Ok(Some((host, port))) => return Ok(seed.clone().set_addr(with_host(seed.addr(), host, port))),
            Ok(None) => {
                let text = format!("the sentinel knows no service `{service}`; check the name in `url`");
                return Err(OperatorError::Server(text).into());
            }
            Err(error) => last = classify_sentinel_error(&error),
        }
    }
    Err(last)
}

/// Masters of the cluster, from the first reachable node.
async fn cluster(address: &Address, connector: &Connector) -> Result<Masters, ClientError> {
    let mut last = ClientError::Transient("no node of the cluster answers".to_owned());
    for seed in &address.seeds {
        let mut connection = match connector.open(seed, 0).await {
            Ok(connection) => connection,
            Err(error) => {
                last = classify(&error);
                continue;
            }
        };
        let reply: Result<Value, _> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await;
        match reply {
            Ok(reply) => return parse_slots(seed, &reply),
            Err(error) => last = classify(&error),
        }
    }
    match last {
        ClientError::Permanent(OperatorError::Server(text)) if text.contains("cluster support disabled") => {
            let text = "the server is not a cluster node; write `redis://` or `rediss://` in `url`";
            Err(OperatorError::Server(text.to_owned()).into())
        }
        last => Err(last),
    }
}

fn with_host(seed: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
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

/// Parses the reply to `CLUSTER SLOTS`: ranges of slots, each with its master first.
fn parse_slots(seed: &ConnectionInfo, reply: &Value) -> Result<Masters, ClientError> {
    let unexpected = || ClientError::Transient("the cluster does not tell which node holds which slots".to_owned());
    let Value::Array(ranges) = reply else {
        return Err(unexpected());
    };
    // Ordered by address, so that the order of the nodes does not depend on which one replied.
    let mut masters: BTreeMap<(String, u16), Vec<Slot>> = BTreeMap::new();
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
        // An empty name stands for the node that replied.
        let named = redis::from_redis_value_ref::<Option<String>>(host).ok().flatten();
        let host = named
            .filter(|host| !host.is_empty())
            .unwrap_or_else(|| host_of(seed.addr()));
        let range = (*from..=*to).map(|slot| u16::try_from(slot).ok().and_then(Slot::new));
        let range = range.collect::<Option<Vec<Slot>>>().ok_or_else(unexpected)?;
        masters.entry((host, *port as u16)).or_default().extend(range);
    }
    let mut slots = NodeOfSlot::with_capacity(SLOTS);
    let mut nodes = Vec::new();
    for (index, ((host, port), of_node)) in masters.into_iter().enumerate() {
        slots.extend(of_node.into_iter().map(|slot| (slot, index)));
        nodes.push(seed.clone().set_addr(with_host(seed.addr(), host, port)));
    }
    if slots.len() < SLOTS {
        return Err(ClientError::TopologyChanged(
            "the cluster is incomplete: some slots have no node".to_owned(),
        ));
    }
    Ok((nodes, Some(slots)))
}

fn host_of(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    }
}
