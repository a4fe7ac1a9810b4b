//! What a plain scalar means: YAML 1.2's core schema, and underscores in whole numbers.

use super::value::ValueKind;

/// The value of unquoted text.
pub fn resolve_plain(text: &str) -> ValueKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ValueKind::Null,
        "true" | "True" | "TRUE" => return ValueKind::Bool(true),
        "false" | "False" | "FALSE" => return ValueKind::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return ValueKind::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return ValueKind::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return ValueKind::Float(f64::NAN),
        _ => {}
    }
    integer(text)
        .map(ValueKind::Int)
        .or_else(|| float(text).map(ValueKind::Float))
        .unwrap_or_else(|| ValueKind::String(text.to_owned()))
}

fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let radix = |prefix, radix| {
        digits
            .strip_prefix(prefix)
            .and_then(|d| i64::from_str_radix(d, radix).ok())
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return (digits.len() == text.len()).then_some(number);
    }
    let plain = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit())
        && !digits.contains("__")
        && digits.chars().all(|c| c.is_ascii_digit() || c == '_');
    if plain {
        text.replace('_', "").parse().ok()
    } else {
        None
    }
}

fn float(text: &str) -> Option<f64> {
    let numeric = text.contains(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
    if numeric { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        assert_eq!(resolve_plain("1_000_000"), ValueKind::Int(1_000_000));
        assert_eq!(resolve_plain("-0x10"), ValueKind::String("-0x10".into()));
        assert_eq!(resolve_plain("0x10"), ValueKind::Int(16));
        assert_eq!(resolve_plain("1e3"), ValueKind::Float(1000.0));
        assert_eq!(resolve_plain("yes"), ValueKind::String("yes".into()));
        assert_eq!(resolve_plain("_1"), ValueKind::String("_1".into()));
        assert_eq!(resolve_plain("1.2.3"), ValueKind::String("1.2.3".into()));
        assert_eq!(resolve_plain("~"), ValueKind::Null);
    }
}
