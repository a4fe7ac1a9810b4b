//! Secrets that stand in the file in plain text.

use crate::config::interpolation::template::is_template;
use crate::config::yaml::{Code, Diagnostic, SourceMap, Span, Value, ValueKind};

/// Endings of keys whose values are secrets.
const KEYS: [&str; 8] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "access_key",
    "private_key",
];

/// A warning for every value that is a secret by its key, or is an address with a password in it.
pub(crate) fn find(sources: &SourceMap, value: &Value, diagnostics: &mut Vec<Diagnostic>) {
    match &value.kind {
        ValueKind::String(text) => {
            if let Some(password) = password(text) {
                let place = sources.span_map(value.span, text).range(password);
                diagnostics.push(warning("a URL has a password in plain text", place));
            }
        }
        ValueKind::Sequence(items) => items.iter().for_each(|item| find(sources, item, diagnostics)),
        ValueKind::Mapping(mapping) => {
            for (key, value) in &mapping.entries {
                match &value.kind {
                    ValueKind::String(text) if is_secret(&key.value) && !text.is_empty() && !is_template(text) => {
                        diagnostics.push(warning(
                            &format!("`{}` is a secret in plain text", key.value),
                            value.span,
                        ));
                    }
                    _ => find(sources, value, diagnostics),
                }
            }
        }
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    KEYS.iter().any(|ending| {
        key.strip_suffix(ending)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with(['_', '-', '.']))
    })
}

/// The place of the password of `scheme://user:password@host`, unless it is put in from elsewhere.
fn password(text: &str) -> Option<std::ops::Range<usize>> {
    let authority = text.find("://")? + 3;
    let rest = &text[authority..];
    let rest = &rest[..rest.find(['/', '?', '#', ' ', '\n']).unwrap_or(rest.len())];
    let user_info = &rest[..rest.rfind('@')?];
    let start = user_info.find(':')? + 1;
    let password = &user_info[start..];
    let plain = !password.is_empty() && !is_template(user_info);
    plain.then(|| authority + start..authority + user_info.len())
}

fn warning(message: &str, span: Span) -> Diagnostic {
    Diagnostic::warning(Code::PlainSecret, message)
        .at(span)
        .help("write `${secret.NAME}`, and set the environment variable NAME where the pipeline runs")
}
