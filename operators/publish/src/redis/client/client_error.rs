//! Errors of the Redis client, classified by what can be done about them.

use redis::{ErrorKind, RedisError, Value};

use towline_api::OperatorError;

/// Error of the Redis client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Retrying does not help.
    #[error(transparent)]
    Permanent(#[from] OperatorError),
    /// The connection broke, or the server asks to wait: a retry may succeed.
    #[error("{0}")]
    Transient(String),
    /// The server was just started and reads its data file.
    #[error("the server is still loading its data")]
    Loading,
    /// Slots or the master have moved to another node.
    #[error("{0}")]
    TopologyChanged(String),
    /// Another server process answers than the one that the batch was written to: it may lack acknowledged writes.
    #[error("{0}")]
    ServerReplaced(String),
}

impl ClientError {
    /// The error as an operator reports it.
    pub(crate) fn into_operator_error(self) -> OperatorError {
        match self {
            ClientError::Permanent(error) => error,
            ClientError::Loading => OperatorError::transient(self.to_string()),
            ClientError::Transient(text) | ClientError::TopologyChanged(text) | ClientError::ServerReplaced(text) => {
                OperatorError::transient(text)
            }
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(
            self,
            ClientError::Transient(_) | ClientError::Loading | ClientError::TopologyChanged(_)
        )
    }
}

/// An error if a reply, or a reply nested in it, is an error.
pub(crate) fn check_reply(reply: &Value) -> Result<(), ClientError> {
    match reply {
        Value::ServerError(error) => Err(classify(&RedisError::from(error.clone()))),
        Value::Array(replies) => replies.iter().try_for_each(check_reply),
        _ => Ok(()),
    }
}

/// An error if one of the replies asks to retry. Other errors are left to the caller, who knows the command.
pub(crate) fn check_retryable(replies: Vec<Value>) -> Result<Vec<Value>, ClientError> {
    for reply in &replies {
        if let Err(error) = check_reply(reply)
            && error.is_retryable()
        {
            return Err(error);
        }
    }
    Ok(replies)
}

/// Converts a reply.
pub(crate) fn reply_as<T: redis::FromRedisValue>(reply: Value) -> Result<T, ClientError> {
    check_reply(&reply)?;
    redis::from_redis_value::<T>(reply).map_err(|error| {
        ClientError::Permanent(OperatorError::Server(format!(
            "the server sent an unexpected reply ({error})"
        )))
    })
}

fn permanent(text: &str) -> ClientError {
    ClientError::Permanent(OperatorError::Server(text.to_owned()))
}

/// Classifies an error of a sentinel.
pub(crate) fn classify_sentinel_error(error: &RedisError) -> ClientError {
    match error.code().unwrap_or_default() {
        "NOAUTH" => permanent("the sentinel requires a password; write `sentinel_password: \"${secret.NAME}\"`"),
        "NOPERM" => permanent(&format!(
            "the sentinel does not let this user ask for the master (`sentinel_user`): {error}"
        )),
        _ if error.to_string().contains("unknown command") => permanent(
            "the server is not a sentinel; write the port of a sentinel (26379 by default), or `redis://` in `url`",
        ),
        code if code == "WRONGPASS" || error.kind() == ErrorKind::AuthenticationFailed => permanent(
            "the sentinel refuses the user name or the password; check `sentinel_user` and `sentinel_password`",
        ),
        _ => classify(error),
    }
}

/// Classifies an error of a server. Texts of the `redis` crate about addresses and credentials are left out: they may quote
/// them.
pub(crate) fn classify(error: &RedisError) -> ClientError {
    let code = error.code().unwrap_or_default();
    if error.kind() == ErrorKind::AuthenticationFailed || code == "WRONGPASS" {
        return permanent("the server refuses the user name or the password; check the credentials in `url`");
    }
    let text = error.to_string();
    if text.contains("DB index is out of range") {
        return permanent(
            "the server has no database of this number; it has 16, from 0 on, unless its setting `databases` says otherwise \
             (`swap` needs a second one: `staging`)",
        );
    }
    if text.contains("lookup address") {
        return ClientError::Transient("the host name cannot be resolved; is it spelt right?".to_owned());
    }
    match code {
        "NOAUTH" => permanent("the server requires a password; write `redis://:${secret.NAME}@host:port` as `url`"),
        "NOPERM" => permanent(&format!("the server does not let this user do it: {error}")),
        "MOVED" | "ASK" | "CLUSTERDOWN" | "READONLY" => ClientError::TopologyChanged(text),
        "LOADING" => ClientError::Loading,
        "BUSY" | "TRYAGAIN" | "MASTERDOWN" => ClientError::Transient(text),
        _ if error.is_connection_refusal() => ClientError::Transient(
            "the connection is refused; is the server running there, and is the port (or the path of the socket) right?"
                .to_owned(),
        ),
        _ if error.is_timeout() => ClientError::Transient(
            "the server does not answer in time; is it reachable from here, and does `url` ask for TLS (`rediss://`) exactly \
             if the server does?"
                .to_owned(),
        ),
        _ if error.kind() == ErrorKind::InvalidClientConfig => permanent(
            "the address is not valid; it should look like `redis://:password@host:6379/0`, with special characters in \
             the password escaped (`%40` for `@`)",
        ),
        _ if error.is_io_error() || error.is_connection_dropped() => {
            ClientError::Transient(format!("the connection broke ({error})"))
        }
        _ => permanent(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_host_is_not_a_broken_connection() {
        let error = std::io::Error::other("failed to lookup address information: Name or service not known");
        let error = classify(&RedisError::from(error));
        assert!(
            matches!(&error, ClientError::Transient(text) if text.contains("host name")),
            "{error}"
        );
    }
}
