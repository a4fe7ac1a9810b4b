//! The tokens of an expression.

use crate::config::expression::ExpressionError;
use crate::config::expression::syntax::{TextRange, is_reserved};
use crate::config::yaml::Code;

/// An expression has at most this many words and signs; it bounds the depth of its tree.
const MAX_TOKENS: usize = 1000;

/// The kinds of tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    Number(f64),
    Text(String),
    /// A word that is not reserved, or one in double quotes.
    Word(String),
    /// A reserved word in lower case, or a sign.
    Sign(&'static str),
}

/// A word or sign and its range.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) range: TextRange,
}

const SIGNS: [&str; 15] = [
    "<=", ">=", "==", "!=", "<", ">", "=", "+", "-", "*", "/", "(", ")", ".", ",",
];

/// The tokens of a text.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, ExpressionError> {
    let mut out: Vec<Token> = Vec::new();
    let mut position = 0;
    loop {
        position += text[position..].len() - text[position..].trim_start().len();
        let rest = &text[position..];
        let Some(first) = rest.chars().next() else {
            return Ok(out);
        };
        let (kind, length) = if first.is_ascii_digit() {
            number(rest, position)?
        } else if first == '\'' || first == '"' {
            quoted(rest, first, position)?
        } else if first.is_alphabetic() || first == '_' {
            word(rest)
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (TokenKind::Sign(sign), sign.len())
        } else {
            return Err(unknown(rest, first, position));
        };
        let range = TextRange {
            start: position,
            end: position + length,
        };
        if out.len() == MAX_TOKENS {
            let message = format!("the expression has more than {MAX_TOKENS} tokens");
            return Err(
                ExpressionError::new(Code::BadExpectation, range, message).help("split it into several expectations")
            );
        }
        out.push(Token { kind, range });
        position += length;
    }
}

fn word(rest: &str) -> (TokenKind, usize) {
    let length = rest
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(rest.len());
    let word = &rest[..length];
    let reserved = crate::config::expression::syntax::RESERVED
        .into_iter()
        .find(|reserved| is_reserved(word) && reserved.eq_ignore_ascii_case(word));
    match reserved {
        Some(reserved) => (TokenKind::Sign(reserved), length),
        None => (TokenKind::Word(word.to_owned()), length),
    }
}

fn number(rest: &str, position: usize) -> Result<(TokenKind, usize), ExpressionError> {
    let digits = |from: usize| {
        let rest = &rest[from..];
        from + rest
            .find(|c: char| !(c.is_ascii_digit() || c == '_'))
            .unwrap_or(rest.len())
    };
    let mut length = digits(0);
    if rest[length..].starts_with('.') && rest[length + 1..].starts_with(|c: char| c.is_ascii_digit()) {
        length = digits(length + 1);
    }
    if rest[length..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
        let end = digits(length + 1 + sign);
        if end > length + 1 + sign {
            length = end;
        }
    }
    let whole = length
        + rest[length..]
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len() - length);
    let value = rest[..length].replace('_', "").parse::<f64>();
    match value {
        Ok(value) if whole == length && value.is_finite() => Ok((TokenKind::Number(value), length)),
        _ => {
            let range = TextRange {
                start: position,
                end: position + whole,
            };
            let message = format!("`{}` is not a number", &rest[..whole]);
            Err(ExpressionError::new(Code::BadExpectation, range, message).help(
                "a number looks like 100, 1_000, 0.05 or 1e-3; a name that begins with a digit needs double quotes",
            ))
        }
    }
}

fn quoted(rest: &str, quote: char, position: usize) -> Result<(TokenKind, usize), ExpressionError> {
    let mut value = String::new();
    let mut from = 1;
    loop {
        let Some(found) = rest[from..].find(quote) else {
            let range = TextRange {
                start: position,
                end: position + rest.len(),
            };
            return Err(ExpressionError::new(Code::BadExpectation, range, format!("the closing {quote} is missing"))
                .help("a string is in single quotes, a name with special characters in double quotes; a quote inside is doubled"));
        };
        value.push_str(&rest[from..from + found]);
        from += found + 1;
        if rest[from..].starts_with(quote) {
            value.push(quote);
            from += 1;
            continue;
        }
        let kind = if quote == '\'' {
            TokenKind::Text(value)
        } else {
            TokenKind::Word(value)
        };
        return Ok((kind, from));
    }
}

fn unknown(rest: &str, first: char, position: usize) -> ExpressionError {
    let hints = [
        ("&&", "write `and`"),
        ("&", "write `and`"),
        ("||", "write `or`"),
        ("|", "write `or`"),
        ("!", "write `not`, or `!=` for unequal"),
        ("%", "write a share as a number: 0.05 for five of a hundred"),
    ];
    let hint = hints.into_iter().find(|(sign, _)| rest.starts_with(sign));
    let sign = hint.map_or_else(|| first.to_string(), |(sign, _)| sign.to_owned());
    let range = TextRange {
        start: position,
        end: position + sign.len(),
    };
    let help = hint.map_or(
        "an expectation looks like `rows > 0`, `user_id is unique` or `null_share(user_age) < 0.05`",
        |(_, help)| help,
    );
    ExpressionError::new(Code::BadExpectation, range, format!("unexpected `{sign}`")).help(help)
}
