//! Endpoint: the server behind the connection parameters of a sink, with its secrets read.

use std::time::Duration;

use crate::redis::client::client_error::ClientError;
use crate::redis::client::connector::Connector;
use crate::redis::client::server::Server;
use crate::redis::config::address;
use crate::redis::config::connection_config::ConnectionConfig;
use towline_api::{OperatorError, Result};

/// Server to publish to.
pub(crate) struct Endpoint {
    address: address::Address,
    connector: Connector,
    /// Address without credentials, for messages.
    redacted: String,
    pub(crate) namespace: String,
    connections: usize,
    retry_timeout: Duration,
}

impl Endpoint {
    /// Reads the secrets and certificates of a configuration.
    pub(crate) fn new(config: &ConnectionConfig<'_>) -> Result<Self> {
        let client = config.client_certificate.zip(config.client_key);
        let connector = Connector::read(config.ca, client)?
            .with_sentinel_credentials(config.sentinel_user, config.sentinel_password)?;
        let redacted = address::redacted(config.url);
        let address = address::parse(&address::revealed(config.url)?)
            .map_err(|reason| OperatorError::Server(format!("{redacted}: {reason}")))?;
        Ok(Endpoint {
            address,
            connector,
            redacted,
            namespace: config.namespace.to_owned(),
            connections: config.connections,
            retry_timeout: Duration::from_secs(config.retry_timeout),
        })
    }

    /// Number of the database in the address.
    pub(crate) fn database(&self) -> i64 {
        self.address.database
    }

    /// Opens one of the server's databases.
    pub(crate) async fn open(&self, database: i64) -> Result<Server, ClientError> {
        self.open_within(database, self.retry_timeout).await
    }

    /// Opens one of the server's databases without retries.
    pub(crate) async fn open_once(&self, database: i64) -> Result<Server, ClientError> {
        self.open_within(database, Duration::ZERO).await
    }

    async fn open_within(&self, database: i64, retry_timeout: Duration) -> Result<Server, ClientError> {
        let (address, connector) = (self.address.clone(), self.connector.clone());
        Server::open(address, connector, database, self.connections, retry_timeout).await
    }

    /// The error with the address of the server.
    pub(crate) fn describe_error(&self, error: ClientError) -> OperatorError {
        match error.into_operator_error() {
            error @ (OperatorError::Server(_) | OperatorError::Transient(_)) => {
                error.reworded(|text| format!("{}: {text}", self.redacted))
            }
            other => other,
        }
    }
}
