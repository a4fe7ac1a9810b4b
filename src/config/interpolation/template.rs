//! The grammar of `${...}` inside a string.

use std::ops::Range;

use crate::config::names::{is_env_name, is_name};

/// A piece of a string, as the interpolation sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Stands for itself.
    Text(&'a str),
    /// `${vars.path}`.
    Var(Vec<&'a str>),
    /// `${env.NAME}` or `${env.NAME:-default}`.
    Env { name: &'a str, default: Option<&'a str> },
    /// `${secret.NAME}`, whole: it is resolved by whoever uses it, never here.
    Secret(&'a str),
    /// An invalid interpolation.
    Bad(Fault<'a>),
}

/// The reason why an interpolation is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault<'a> {
    /// There is no `}`.
    Unclosed,
    /// The text between the braces names neither a variable, nor an environment variable, nor a secret.
    Unknown(&'a str),
}

/// Splits a string into its pieces, each with its range of bytes. `$${` is the escape for `${`.
pub(crate) fn pieces(text: &str) -> Vec<(Range<usize>, Piece<'_>)> {
    let mut found = Vec::new();
    let mut plain = 0;
    while let Some(next) = text[plain..].find("${") {
        let start = plain + next;
        if text[plain..start].ends_with('$') {
            // The text up to the first of the two signs, then `${` without it.
            found.push((plain..start - 1, Piece::Text(&text[plain..start - 1])));
            found.push((start - 1..start + 2, Piece::Text(&text[start..start + 2])));
            plain = start + 2;
            continue;
        }
        found.push((plain..start, Piece::Text(&text[plain..start])));
        let Some(length) = text[start..].find('}') else {
            found.push((start..text.len(), Piece::Bad(Fault::Unclosed)));
            plain = text.len();
            break;
        };
        let end = start + length + 1;
        found.push((start..end, interpolation(&text[start..end])));
        plain = end;
    }
    found.push((plain..text.len(), Piece::Text(&text[plain..])));
    found.retain(|(_, piece)| *piece != Piece::Text(""));
    found
}

/// Whether a string has an interpolation or an escape.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("${")
}

fn interpolation(whole: &str) -> Piece<'_> {
    let inner = whole[2..whole.len() - 1].trim();
    let unknown = Piece::Bad(Fault::Unknown(inner));
    match inner.split_once('.') {
        Some(("vars", path)) => {
            let path: Vec<&str> = path.split('.').collect();
            if is_name(path[0]) && path.iter().all(|segment| !segment.is_empty()) {
                Piece::Var(path)
            } else {
                unknown
            }
        }
        Some(("env", rest)) => {
            let (name, default) = match rest.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (rest, None),
            };
            if is_env_name(name) {
                Piece::Env { name, default }
            } else {
                unknown
            }
        }
        Some(("secret", name)) if is_env_name(name) => Piece::Secret(whole),
        _ => unknown,
    }
}
