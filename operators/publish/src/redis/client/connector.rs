//! Opens connections: timeouts, TLS, credentials of sentinels.

use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates,
};

use towline_api::secret::reveal;
use towline_api::{OperatorError, Result};

const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Long, because a chunk that timed out may still be executed: it is better to wait for its reply.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens connections to servers and sentinels.
#[derive(Clone, Default)]
pub(crate) struct Connector {
    certificates: Option<TlsCertificates>,
    /// Credentials for sentinels, which may differ from those for the data.
    sentinel_credentials: RedisConnectionInfo,
}

impl Connector {
    /// Reads the certificates: that of the certificate authority, and that of the client with its key.
    pub(crate) fn read(authority: Option<&Path>, client: Option<(&Path, &Path)>) -> Result<Self> {
        let bytes = |path: &Path| std::fs::read(path).map_err(OperatorError::io(path));
        // One provider per process; an earlier one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if authority.is_none() && client.is_none() {
            return Ok(Connector::default());
        }
        let client_tls = client.map(|(certificate, key)| {
            Ok::<_, OperatorError>(ClientTlsConfig {
                client_cert: bytes(certificate)?,
                client_key: bytes(key)?,
            })
        });
        Ok(Connector {
            certificates: Some(TlsCertificates {
                client_tls: client_tls.transpose()?,
                root_cert: authority.map(bytes).transpose()?,
            }),
            sentinel_credentials: RedisConnectionInfo::default(),
        })
    }

    /// Sets the credentials for sentinels; secrets in them are read now.
    pub(crate) fn with_sentinel_credentials(mut self, user: Option<&str>, password: Option<&str>) -> Result<Self> {
        if let Some(user) = user {
            self.sentinel_credentials = self.sentinel_credentials.set_username(reveal(user)?);
        }
        if let Some(password) = password {
            self.sentinel_credentials = self.sentinel_credentials.set_password(reveal(password)?);
        }
        Ok(self)
    }

    /// Opens a connection to a sentinel.
    pub(crate) async fn open_sentinel(&self, info: &ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
        let info = info.clone().set_redis_settings(self.sentinel_credentials.clone());
        self.open(&info, 0).await
    }

    /// Opens a connection to a database of a server.
    pub(crate) async fn open(&self, info: &ConnectionInfo, database: i64) -> Result<MultiplexedConnection, RedisError> {
        let settings = info.redis_settings().clone().set_db(database);
        // With Nagle's algorithm every second request waits for the acknowledgement of the one before.
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
