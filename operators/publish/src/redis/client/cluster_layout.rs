//! Where keys are: which processes hold them, found out from sentinels and from nodes of a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::{ConnectionAddr, ConnectionInfo, Value};

use crate::redis::client::connection::{Failure, Node, Security, failure, sentinel_failure};
use crate::redis::config::address::{Address, Shape};
use towline_api::{OperatorError, Result};

const SLOTS: usize = 16_384;

/// The processes that hold the keys.
pub(crate) struct Layout {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// In a cluster: the place of the node of each slot.
    pub(crate) slots: Option<Vec<u16>>,
    /// Counts the changes.
    pub(crate) version: u64,
}

/// The processes that hold keys, and in a cluster the place of the one of each slot.
pub(crate) type Masters = (Vec<ConnectionInfo>, Option<Vec<u16>>);

/// Asks where the keys of an address are.
pub(crate) async fn masters(address: &Address, security: &Security) -> Result<Masters, Failure> {
    match &address.shape {
        Shape::Single => Ok((address.seeds.clone(), None)),
        Shape::Sentinel { service } => Ok((vec![master(address, security, service).await?], None)),
        Shape::Cluster => cluster(address, security).await,
    }
}

/// The master that the sentinels name.
async fn master(address: &Address, security: &Security, service: &str) -> Result<ConnectionInfo, Failure> {
    let mut last = Failure::Passing("no sentinel answers".to_owned());
    for seed in &address.seeds {
        let mut connection = match security.open_sentinel(seed).await {
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
async fn cluster(address: &Address, security: &Security) -> Result<Masters, Failure> {
    let mut last = Failure::Passing("no node of the cluster answers".to_owned());
    for seed in &address.seeds {
        let mut connection = match security.open(seed, 0).await {
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

impl Layout {
    /// The place of the node that holds a key.
    pub(crate) fn owner(&self, key: &[u8]) -> usize {
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
fn slots(seed: &ConnectionInfo, answer: &Value) -> Result<Masters, Failure> {
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
