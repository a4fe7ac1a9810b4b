//! Connections to one server process: opened again when they break, and only to the process that they were opened to first.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionInfo, ErrorKind, Pipeline, RedisConnectionInfo,
    RedisError, TlsCertificates, Value,
};
use tokio::sync::Mutex;

use towline_api::secret::reveal;
use towline_api::{OperatorError, Result};

const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Long, because a chunk that timed out may still be executed: it is better to wait for its answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why something could not be published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It will not work, whoever tries again.
    #[error(transparent)]
    Final(#[from] OperatorError),
    /// The connection broke, or the server asks to wait: the same may work a moment later.
    #[error("{0}")]
    Passing(String),
    /// The server was started a moment ago and reads its file.
    #[error("the server is still loading its data")]
    Loading,
    /// The keys are with other nodes now.
    #[error("{0}")]
    Moved(String),
    /// A server process is not the one that the batch was written to before: what it holds is not known.
    #[error("{0}")]
    Restarted(String),
}

impl Failure {
    /// The error of an operator.
    pub(crate) fn into_error(self) -> OperatorError {
        match self {
            Failure::Final(error) => error,
            Failure::Loading => OperatorError::transient(self.to_string()),
            Failure::Passing(text) | Failure::Moved(text) | Failure::Restarted(text) => OperatorError::transient(text),
        }
    }
}

/// How connections are opened.
#[derive(Clone, Default)]
pub(crate) struct Security {
    certificates: Option<TlsCertificates>,
    /// How sentinels know this client, which need not be how the data does.
    sentinels: RedisConnectionInfo,
}

impl Security {
    /// Reads the certificates: of the authority that signed the server's, and of this client with its key.
    pub(crate) fn read(authority: Option<&Path>, client: Option<(&Path, &Path)>) -> Result<Self> {
        let bytes = |path: &Path| std::fs::read(path).map_err(OperatorError::io(path));
        // The provider is a matter of the process; whoever was first has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if authority.is_none() && client.is_none() {
            return Ok(Security::default());
        }
        let client_tls = client.map(|(certificate, key)| {
            Ok::<_, OperatorError>(ClientTlsConfig {
                client_cert: bytes(certificate)?,
                client_key: bytes(key)?,
            })
        });
        Ok(Security {
            certificates: Some(TlsCertificates {
                client_tls: client_tls.transpose()?,
                root_cert: authority.map(bytes).transpose()?,
            }),
            sentinels: RedisConnectionInfo::default(),
        })
    }

    /// The same with the credentials that sentinels ask for; secrets in them are read now.
    pub(crate) fn known_to_sentinels(mut self, user: Option<&str>, password: Option<&str>) -> Result<Self> {
        if let Some(user) = user {
            self.sentinels = self.sentinels.set_username(reveal(user)?);
        }
        if let Some(password) = password {
            self.sentinels = self.sentinels.set_password(reveal(password)?);
        }
        Ok(self)
    }

    /// A new connection to a sentinel.
    pub(crate) async fn open_sentinel(&self, info: &ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
        let info = info.clone().set_redis_settings(self.sentinels.clone());
        self.open(&info, 0).await
    }

    /// A new connection to a server and one of its databases.
    pub(crate) async fn open(&self, info: &ConnectionInfo, database: i64) -> Result<MultiplexedConnection, RedisError> {
        let settings = info.redis_settings().clone().set_db(database);
        // Without this every second answer waits for the acknowledgement of the one before.
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = info.clone().set_redis_settings(settings).set_tcp_settings(tcp);
        let client = match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone())?,
            None => Client::open(info)?,
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// A server process.
pub(crate) struct Node {
    info: ConnectionInfo,
    database: i64,
    /// The one for what is asked and noted: it does not wait behind documents, and the server's buffer for a connection with
    /// documents stays small, which is what it reads at once while its readers wait.
    aside: Mutex<Link>,
    /// Those for documents.
    links: Vec<Mutex<Link>>,
    turn: AtomicUsize,
    /// What tells this process from others; known after the first connection.
    process: Mutex<Option<String>>,
}

#[derive(Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    /// The server's number of the connection.
    id: Option<i64>,
    /// Counts the connections.
    epoch: u64,
}

impl Node {
    /// A server that is not connected to yet; `process` if it is known already.
    pub(crate) fn new(info: ConnectionInfo, database: i64, connections: usize, process: Option<String>) -> Self {
        Node {
            info,
            database,
            aside: Mutex::default(),
            links: (0..connections.max(1)).map(|_| Mutex::default()).collect(),
            turn: AtomicUsize::new(0),
            process: Mutex::new(process),
        }
    }

    /// The address of the process.
    pub(crate) fn address(&self) -> String {
        self.info.addr().to_string()
    }

    /// What tells the process from others, once there was a connection.
    pub(crate) async fn process(&self) -> Option<String> {
        self.process.lock().await.clone()
    }

    /// Sends documents over one of the connections and waits for all answers, among which may be errors.
    pub(crate) async fn send(&self, security: &Security, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.over(&self.links[turn % self.links.len()], security, pipeline)
            .await
    }

    /// The same with a few commands that do not wait for documents.
    pub(crate) async fn ask(&self, security: &Security, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        self.over(&self.aside, security, pipeline).await
    }

    /// Waits until the server has executed what was sent before over the connections for documents, also for those who did
    /// not wait for the answers.
    pub(crate) async fn settle(&self, security: &Security) -> Result<(), Failure> {
        let mut ping = Pipeline::new();
        ping.cmd("PING");
        for link in &self.links {
            self.over(link, security, &ping).await?;
        }
        Ok(())
    }

    async fn over(&self, link: &Mutex<Link>, security: &Security, pipeline: &Pipeline) -> Result<Vec<Value>, Failure> {
        let (mut connection, epoch) = self.connected(security, link).await?;
        match connection.send_packed_commands(pipeline, 0, pipeline.len()).await {
            Ok(answers) => Ok(answers),
            Err(error) => {
                let mut link = link.lock().await;
                // Others may have seen the same break and have mended it.
                if link.epoch == epoch {
                    link.connection = None;
                }
                Err(failure(&error))
            }
        }
    }

    async fn connected(
        &self,
        security: &Security,
        link: &Mutex<Link>,
    ) -> Result<(MultiplexedConnection, u64), Failure> {
        let mut link = link.lock().await;
        if let Some(connection) = &link.connection {
            return Ok((connection.clone(), link.epoch));
        }
        let opened = security.open(&self.info, self.database).await;
        let mut connection = opened.map_err(|error| failure(&error))?;
        let (process, id) = introduce(&mut connection, link.id).await?;
        let mut known = self.process.lock().await;
        match known.as_ref() {
            Some(known) if *known != process => {
                return Err(Failure::Restarted(
                    "the server was started anew; what was written before is not there for sure".to_owned(),
                ));
            }
            _ => *known = Some(process),
        }
        link.connection = Some(connection.clone());
        link.id = id;
        link.epoch += 1;
        Ok((connection, link.epoch))
    }
}

/// Asks a server who it is, and ends the connection that broke before: what is still on its way there must not be executed
/// after what comes now.
async fn introduce(
    connection: &mut MultiplexedConnection,
    broken: Option<i64>,
) -> Result<(String, Option<i64>), Failure> {
    let mut pipeline = Pipeline::new();
    pipeline.cmd("INFO").arg("server").cmd("CLIENT").arg("ID");
    if let Some(id) = broken {
        pipeline.cmd("CLIENT").arg("KILL").arg("ID").arg(id);
    }
    let answers = connection.send_packed_commands(&pipeline, 0, pipeline.len()).await;
    let answers = answers.map_err(|error| failure(&error))?;
    let info = text(
        answers
            .first()
            .ok_or_else(|| Failure::Passing("no answer".to_owned()))?,
    )?;
    let process = info
        .lines()
        .find_map(|line| line.strip_prefix("run_id:"))
        .map(|id| id.trim().to_owned());
    let id = match answers.get(1) {
        Some(Value::Int(id)) => Some(*id),
        _ => None,
    };
    Ok((process.unwrap_or_default(), id))
}

/// The text of an answer, or the error that it is.
pub(crate) fn text(answer: &Value) -> Result<String, Failure> {
    check(answer)?;
    redis::from_redis_value_ref::<String>(answer).map_err(|error| {
        Failure::Final(OperatorError::Server(format!(
            "the server answers something else than a text ({error})"
        )))
    })
}

/// The error that an answer is, if it is one; also one inside.
pub(crate) fn check(answer: &Value) -> Result<(), Failure> {
    match answer {
        Value::ServerError(error) => Err(failure(&RedisError::from(error.clone()))),
        Value::Array(answers) => answers.iter().try_for_each(check),
        _ => Ok(()),
    }
}

/// The same of a sentinel's error.
pub(crate) fn sentinel_failure(error: &RedisError) -> Failure {
    let server = |text: &str| Failure::Final(OperatorError::Server(text.to_owned()));
    match error.code().unwrap_or_default() {
        "NOAUTH" => server("the sentinel wants a password; write `sentinel_password: \"${secret.NAME}\"`"),
        "NOPERM" => server(&format!(
            "the sentinel does not let this user ask for the master (`sentinel_user`): {error}"
        )),
        _ if error.to_string().contains("unknown command") => {
            server("what answers there is no sentinel; name its port (26379 by default), or write `redis://` in `url`")
        }
        code if code == "WRONGPASS" || error.kind() == ErrorKind::AuthenticationFailed => {
            server("the sentinel refuses the user name or the password; check `sentinel_user` and `sentinel_password`")
        }
        _ => failure(error),
    }
}

/// An error in words that help, by what can be done about it. What the client says about addresses and credentials is left
/// out: it may quote them.
pub(crate) fn failure(error: &RedisError) -> Failure {
    let code = error.code().unwrap_or_default();
    let server = |text: &str| Failure::Final(OperatorError::Server(text.to_owned()));
    if error.kind() == ErrorKind::AuthenticationFailed || code == "WRONGPASS" {
        return server("the server refuses the user name or the password; check the credentials in `url`");
    }
    let said = error.to_string();
    if said.contains("DB index is out of range") {
        return server(
            "the server has no database of this number; it has 16, from 0 on, unless its setting `databases` says otherwise \
             (`swap` needs a second one: `staging`)",
        );
    }
    if said.contains("lookup address") {
        return Failure::Passing("the name of the host is not known here; is it spelt right?".to_owned());
    }
    match code {
        "NOAUTH" => server("the server wants a password; write `redis://:${secret.NAME}@host:port` as `url`"),
        "NOPERM" => server(&format!("the server does not let this user do it: {error}")),
        "MOVED" | "ASK" | "CLUSTERDOWN" | "READONLY" => Failure::Moved(error.to_string()),
        "LOADING" => Failure::Loading,
        "BUSY" | "TRYAGAIN" | "MASTERDOWN" => Failure::Passing(error.to_string()),
        _ if error.is_connection_refusal() => Failure::Passing(
            "the connection is refused; is the server running there, and is the port (or the path of the socket) right?".to_owned(),
        ),
        _ if error.is_timeout() => {
            Failure::Passing(
                "the server does not answer in time; is it reachable from here, and does it speak TLS just where `url` says \
                 so (`rediss://`)?"
                    .to_owned(),
            )
        }
        _ if error.kind() == ErrorKind::InvalidClientConfig => server(
            "the address is not valid; it should look like `redis://:password@host:6379/0`, with special characters in \
             the password escaped (`%40` for `@`)",
        ),
        _ if error.is_io_error() || error.is_connection_dropped() => {
            Failure::Passing(format!("the connection broke ({error})"))
        }
        _ => server(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_nobody_knows_is_no_broken_connection() {
        let error = std::io::Error::other("failed to lookup address information: Name or service not known");
        let told = failure(&RedisError::from(error));
        assert!(
            matches!(&told, Failure::Passing(text) if text.contains("name of the host")),
            "{told}"
        );
    }
}
