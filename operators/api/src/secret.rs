//! Secrets: `${secret.X}` is read when it is used, and never printed, stored or hashed.

use crate::{OperatorError, Result};

/// `text` with every `${secret.X}` replaced by the secret X: the environment variable X, or else the file X in the
/// folder that `TOWLINE_SECRETS_DIR` names (without its final newline). The result must not be logged.
pub fn reveal(text: &str) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${secret.") {
        out.push_str(&rest[..start]);
        let after = &rest[start + "${secret.".len()..];
        let Some(end) = after.find('}') else {
            return Err(OperatorError::invalid("a `${secret.` without its closing `}`"));
        };
        out.push_str(&read(&after[..end])?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn read(name: &str) -> Result<String> {
    if let Ok(value) = std::env::var(name) {
        return Ok(value);
    }
    if let Ok(dir) = std::env::var("TOWLINE_SECRETS_DIR") {
        let path = std::path::Path::new(&dir).join(name);
        if let Ok(value) = std::fs::read_to_string(&path) {
            return Ok(value.trim_end_matches(['\n', '\r']).to_owned());
        }
    }
    Err(OperatorError::invalid(format!(
        "the secret `{name}` is not set: set the environment variable {name}, or put it into a file of that name in TOWLINE_SECRETS_DIR"
    )))
}
