//! Addresses of servers: shown without their credentials, opened with them.

use std::fmt::Write as _;

use serde::Serializer;

use crate::contract::Result;
use crate::contract::secret::reveal;

/// The word for the store in a file.
pub(super) const EMBEDDED: &str = "embedded";

/// The address with `***` in place of user and password: for people, receipts and cache keys. Secrets in the rest stay
/// unread.
pub(super) fn redacted(url: &str) -> String {
    match parts(url) {
        (scheme, Some(_), rest) => format!("{scheme}***@{rest}"),
        (_, None, _) => url.to_owned(),
    }
}

/// The address with its secrets, ready to connect. A secret in place of the user or the password is taken as it is,
/// whatever characters it has; all else must be escaped as in every URL.
pub(super) fn revealed(url: &str) -> Result<String> {
    let (scheme, Some(credentials), rest) = parts(url) else {
        return reveal(url);
    };
    let credentials = match credentials.split_once(':') {
        Some((user, password)) => format!("{}:{}", credential(user)?, credential(password)?),
        None => credential(credentials)?,
    };
    Ok(format!("{scheme}{credentials}@{}", reveal(rest)?))
}

/// For serde: the cache key of a sink must not hold a password.
pub(super) fn serialize<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redacted(url))
}

/// Scheme with `://`, credentials without their `@`, and the rest. The last `@` ends the credentials, so that a
/// password with an unescaped `@` is not taken for a host and shown.
fn parts(url: &str) -> (&str, Option<&str>, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    match rest.rfind('@') {
        Some(at) => (scheme, Some(&rest[..at]), &rest[at + 1..]),
        None => (scheme, None, rest),
    }
}

fn credential(text: &str) -> Result<String> {
    if !text.contains("${secret.") {
        return Ok(text.to_owned());
    }
    let mut escaped = String::new();
    for byte in reveal(text)?.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_credentials() {
        assert_eq!(redacted("redis://:hunter2@host:1/0"), "redis://***@host:1/0");
        assert_eq!(redacted("redis://me:hun@ter/2@host"), "redis://***@host");
        assert_eq!(redacted("redis://host"), "redis://host");
        assert_eq!(redacted("${secret.URL}"), "${secret.URL}");
        assert_eq!(redacted("embedded"), "embedded");
    }

    #[test]
    fn escapes_secrets_and_nothing_else() {
        // Cargo sets this variable for every test.
        let url = revealed("redis://u%40:${secret.CARGO_PKG_NAME}@host/0").unwrap();
        assert_eq!(url, "redis://u%40:towline%2Doperators@host/0");
        assert_eq!(
            revealed("redis://${secret.CARGO_PKG_NAME}").unwrap(),
            "redis://towline-operators"
        );
    }
}
