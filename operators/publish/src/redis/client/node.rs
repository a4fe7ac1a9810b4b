//! Node: one server process. Broken connections are reopened, but only to the same process.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, Pipeline, Value};
use tokio::sync::Mutex;

use crate::redis::client::client_error::{ClientError, classify, reply_as};
use crate::redis::client::connector::Connector;

/// Server process with a pool of connections.
pub(crate) struct Node {
    info: ConnectionInfo,
    database: i64,
    /// Connection for short requests: they do not wait behind documents.
    control: Mutex<Slot>,
    /// Connections for documents.
    data: Vec<Mutex<Slot>>,
    next: AtomicUsize,
    /// `run_id` of the process; known after the first connection.
    process: Mutex<Option<String>>,
}

/// Slot of the pool: a connection, or none if it broke.
#[derive(Default)]
struct Slot {
    connection: Option<MultiplexedConnection>,
    /// `CLIENT ID` of the last connection.
    client_id: Option<i64>,
    /// Number of connections opened so far.
    epoch: u64,
}

impl Node {
    /// Node without connections; they are opened when needed.
    pub(crate) fn new(info: ConnectionInfo, database: i64, connections: usize) -> Self {
        Node {
            info,
            database,
            control: Mutex::default(),
            data: (0..connections.max(1)).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
            process: Mutex::new(None),
        }
    }

    /// Address of the server.
    pub(crate) fn address(&self) -> String {
        self.info.addr().to_string()
    }

    /// `run_id` of the process, once there was a connection.
    pub(crate) async fn process_id(&self) -> Option<String> {
        self.process.lock().await.clone()
    }

    /// Sends documents over one of the data connections. Replies may be errors.
    pub(crate) async fn send(&self, connector: &Connector, pipeline: &Pipeline) -> Result<Vec<Value>, ClientError> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.send_over(&self.data[next % self.data.len()], connector, pipeline)
            .await
    }

    /// Sends short requests over the control connection. Replies may be errors.
    pub(crate) async fn request(&self, connector: &Connector, pipeline: &Pipeline) -> Result<Vec<Value>, ClientError> {
        self.send_over(&self.control, connector, pipeline).await
    }

    /// Waits until the server has executed everything that was sent over the data connections, including requests whose
    /// callers were cancelled.
    pub(crate) async fn drain(&self, connector: &Connector) -> Result<(), ClientError> {
        let mut ping = Pipeline::new();
        ping.cmd("PING");
        for slot in &self.data {
            self.send_over(slot, connector, &ping).await?;
        }
        Ok(())
    }

    async fn send_over(
        &self,
        slot: &Mutex<Slot>,
        connector: &Connector,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, ClientError> {
        let (mut connection, epoch) = self.connection(connector, slot).await?;
        match connection.send_packed_commands(pipeline, 0, pipeline.len()).await {
            Ok(replies) => Ok(replies),
            Err(error) => {
                let mut slot = slot.lock().await;
                // A concurrent request may have reopened it already.
                if slot.epoch == epoch {
                    slot.connection = None;
                }
                Err(classify(&error))
            }
        }
    }

    async fn connection(
        &self,
        connector: &Connector,
        slot: &Mutex<Slot>,
    ) -> Result<(MultiplexedConnection, u64), ClientError> {
        let mut slot = slot.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((connection.clone(), slot.epoch));
        }
        let opened = connector.open(&self.info, self.database).await;
        let mut connection = opened.map_err(|error| classify(&error))?;
        let (process, client_id) = handshake(&mut connection, slot.client_id).await?;
        let mut known = self.process.lock().await;
        match known.as_ref() {
            Some(known) if *known != process => {
                return Err(ClientError::ServerReplaced(
                    "the server was restarted and may have lost what was written before".to_owned(),
                ));
            }
            _ => *known = Some(process),
        }
        slot.connection = Some(connection.clone());
        slot.client_id = client_id;
        slot.epoch += 1;
        Ok((connection, slot.epoch))
    }
}

/// Reads `run_id` and `CLIENT ID`, and kills the connection that broke before: requests that are still in its buffers must
/// not be executed after those that follow.
async fn handshake(
    connection: &mut MultiplexedConnection,
    broken: Option<i64>,
) -> Result<(String, Option<i64>), ClientError> {
    let mut pipeline = Pipeline::new();
    pipeline.cmd("INFO").arg("server").cmd("CLIENT").arg("ID");
    if let Some(client_id) = broken {
        pipeline.cmd("CLIENT").arg("KILL").arg("ID").arg(client_id);
    }
    let replies = connection.send_packed_commands(&pipeline, 0, pipeline.len()).await;
    let mut replies = replies.map_err(|error| classify(&error))?.into_iter();
    let info: String = reply_as(replies.next().unwrap_or_default())?;
    let process = info
        .lines()
        .find_map(|line| line.strip_prefix("run_id:"))
        .map(|id| id.trim().to_owned());
    let client_id = match replies.next() {
        Some(Value::Int(id)) => Some(id),
        _ => None,
    };
    Ok((process.unwrap_or_default(), client_id))
}
