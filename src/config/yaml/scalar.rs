//! The YAML 1.2 core schema: what an unquoted scalar stands for.

use std::borrow::Cow;

use granit_parser::Tag;

use crate::config::yaml::{Code, ValueKind};

/// An integer that no 64-bit type holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this integer does not fit in 64 bits")]
pub struct IntegerTooLarge;

/// Resolves an unquoted scalar by the YAML 1.2 core schema, with underscores between the digits of an integer allowed.
///
/// An integer beyond 64 bits is refused: as a float it would silently become another number.
pub fn resolve(text: &str) -> Result<ValueKind, IntegerTooLarge> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => ValueKind::Null,
        "true" | "True" | "TRUE" => ValueKind::Bool(true),
        "false" | "False" | "FALSE" => ValueKind::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => ValueKind::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => ValueKind::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => ValueKind::Float(f64::NAN),
        _ => match integer(text)? {
            Some(kind) => kind,
            None => float(text).map_or_else(|| ValueKind::String(text.to_owned()), ValueKind::Float),
        },
    })
}

fn integer(text: &str) -> Result<Option<ValueKind>, IntegerTooLarge> {
    let (digits, radix, negative) = if let Some(hex) = text.strip_prefix("0x") {
        (hex, 16, false)
    } else if let Some(octal) = text.strip_prefix("0o") {
        (octal, 8, false)
    } else if let Some(rest) = text.strip_prefix('-') {
        (rest, 10, true)
    } else {
        (text.strip_prefix('+').unwrap_or(text), 10, false)
    };
    let Some(digits) = digits_of(digits, radix) else {
        return Ok(None);
    };
    let magnitude = u64::from_str_radix(&digits, radix).map_err(|_| IntegerTooLarge)?;
    if negative {
        let value = 0_i64.checked_sub_unsigned(magnitude).ok_or(IntegerTooLarge)?;
        return Ok(Some(ValueKind::Int(value)));
    }
    Ok(Some(
        i64::try_from(magnitude).map_or(ValueKind::UInt(magnitude), ValueKind::Int),
    ))
}

/// The digits without their underscores, if each underscore stands between two digits.
fn digits_of(text: &str, radix: u32) -> Option<String> {
    let groups = text.split('_');
    groups
        .map(|group| (!group.is_empty() && group.chars().all(|c| c.is_digit(radix))).then_some(group))
        .collect()
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let well_formed = digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| {
            let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent)
        });
    if well_formed { text.parse().ok() } else { None }
}

/// The value of a scalar with or without an explicit tag.
pub(super) fn tagged(text: &str, plain: bool, tag: Option<&Tag>) -> Result<ValueKind, (Code, String)> {
    let string = || Ok(ValueKind::String(text.to_owned()));
    let plainly = || resolve(text).map_err(|error| (Code::OutOfRange, error.to_string()));
    let Some(tag) = tag else {
        return if plain { plainly() } else { string() };
    };
    if tag.original() == "!" {
        return string();
    }
    let kind = match tag.core_suffix() {
        Some("str") => return string(),
        Some("null" | "bool" | "int" | "float") => plainly()?,
        _ => {
            return Err((
                Code::BadYaml,
                format!("the tag `{}` is not supported here", tag.original()),
            ));
        }
    };
    match (tag.core_suffix(), kind) {
        (Some("float"), ValueKind::Int(value)) => Ok(ValueKind::Float(value as f64)),
        (Some("float"), ValueKind::UInt(value)) => Ok(ValueKind::Float(value as f64)),
        (Some("null"), kind @ ValueKind::Null)
        | (Some("bool"), kind @ ValueKind::Bool(_))
        | (Some("int"), kind @ (ValueKind::Int(_) | ValueKind::UInt(_)))
        | (Some("float"), kind @ ValueKind::Float(_)) => Ok(kind),
        _ => {
            let message = format!("`{}` can't be read as `{}`", shorten(text), tag.original());
            Err((Code::BadYaml, message))
        }
    }
}

/// The beginning of a text, for a message.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    }
}
