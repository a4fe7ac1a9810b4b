//! Diagnostics for keys and values that do not fit the format.

use towline_api::suggest;

use crate::config::yaml::{Code, Diagnostic, Key, Value};

/// The error for a value of the wrong type.
pub(crate) fn wrong_type(expected: &str, found: &Value) -> Diagnostic {
    Diagnostic::error(Code::WrongType, format!("{expected}, not {}", found.kind_name())).at(found.span)
}

/// The error for an unknown key, with the nearest known one.
pub(crate) fn unknown_key(key: &Key, whose: &str, known: &[&str]) -> Diagnostic {
    let message = format!("`{}` is not a key of {whose}", key.value);
    let mut diagnostic = Diagnostic::error(Code::UnknownKey, message)
        .at(key.span)
        .label("unknown");
    diagnostic.help = Some(suggest::sentence(&key.value, known, "keys"));
    diagnostic
}

/// The warning for a key that is written under a deprecated name.
pub(crate) fn deprecated_name(key: &Key, present: &str) -> Diagnostic {
    let old = &key.value;
    Diagnostic::warning(
        Code::DeprecatedName,
        format!("`{old}` is deprecated: its name is now `{present}`"),
    )
    .at(key.span)
    .label("deprecated")
    .help(format!("replace `{old}` with `{present}`"))
}
