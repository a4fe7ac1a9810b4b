//! The syntax of names.

use crate::config::yaml::{Code, Diagnostic, Spanned, shorten};

/// Maximum length of a name in bytes; short enough to be repeated in messages.
pub(crate) const MAX_NAME_LENGTH: usize = 128;

/// Whether a text is a valid name of a node, variable or split: a letter or `_`, then letters, digits, `_` and `-`.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.len() <= MAX_NAME_LENGTH
        && text.bytes().all(is_name_byte)
}

/// Whether a byte is valid inside a name.
pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Whether a text is a valid name of an environment variable.
pub(crate) fn is_env_name(text: &str) -> bool {
    is_name(text) && !text.contains('-')
}

/// The error for an invalid name.
pub(crate) fn bad_name(what: &str, name: &Spanned<String>) -> Diagnostic {
    let message = format!("`{}` can't be the name of a {what}", shorten(&name.value));
    let help = format!(
        "a name begins with a letter or `_`, goes on with letters, digits, `_` and `-`, and is at most {MAX_NAME_LENGTH} long"
    );
    Diagnostic::error(Code::BadName, message)
        .at(name.span)
        .label("not a name")
        .help(help)
}
