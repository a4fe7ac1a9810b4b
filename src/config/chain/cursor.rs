//! A position in the text of a chain, and what is read there.

use std::ops::Range;

use crate::config::yaml::{Code, Diagnostic, Span, SpanMap};

/// Reads a chain from left to right.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    span_map: SpanMap,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str, span_map: SpanMap) -> Self {
        Self { text, at: 0, span_map }
    }

    /// The place in the file of a range of the chain.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        self.span_map.range(range)
    }

    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(crate) fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// The offset of the next thing that is not white space.
    pub(crate) fn start(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// The offset behind the last thing read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Moves over `token` if it comes next.
    pub(crate) fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Moves over characters that `inside` accepts and over whole `${...}`; the text may be empty.
    pub(crate) fn word(&mut self, inside: impl Fn(char) -> bool) -> (&'a str, Range<usize>) {
        let start = self.start();
        loop {
            let rest = self.rest();
            if rest.starts_with("${") {
                self.at += rest.find('}').map_or(rest.len(), |close| close + 1);
            } else if rest.starts_with("$${") {
                self.at += 3;
            } else {
                match rest.chars().next() {
                    Some(next) if inside(next) => self.at += next.len_utf8(),
                    _ => break,
                }
            }
        }
        (&self.text[start..self.at], start..self.at)
    }

    /// Reads a text in single or double quotes, if one comes next.
    pub(crate) fn quoted(&mut self) -> Result<Option<(String, Range<usize>)>, Box<Diagnostic>> {
        let start = self.start();
        let Some(quote @ ('"' | '\'')) = self.rest().chars().next() else {
            return Ok(None);
        };
        let mut content = String::new();
        let mut chars = self.text[start + 1..].char_indices().peekable();
        while let Some((at, next)) = chars.next() {
            let end = start + 1 + at + next.len_utf8();
            if next == quote {
                if quote == '\'' && chars.next_if(|(_, following)| *following == '\'').is_some() {
                    content.push('\'');
                    continue;
                }
                self.at = end;
                return Ok(Some((content, start..end)));
            }
            if next != '\\' || quote == '\'' {
                content.push(next);
                continue;
            }
            match chars.next() {
                Some((_, 'n')) => content.push('\n'),
                Some((_, 't')) => content.push('\t'),
                Some((_, escaped @ ('"' | '\\'))) => content.push(escaped),
                _ => {
                    let help = "inside double quotes, `\\\"`, `\\\\`, `\\n` and `\\t` are known";
                    return Err(self
                        .bad(end - 1..end, "an unknown escape in a quoted text")
                        .help(help)
                        .into());
                }
            }
        }
        Err(self.bad(start..self.text.len(), "a quoted text is never closed").into())
    }

    /// The complaint that something else should come next.
    pub(crate) fn expected(&mut self, what: &str) -> Diagnostic {
        let start = self.start();
        let rest = self.rest();
        let length = token_length(rest);
        let found = match &rest[..length] {
            "" => "the end".to_owned(),
            token => format!("`{token}`"),
        };
        let diagnostic = self.bad(start..start + length, &format!("expected {what}, found {found}"));
        match rest.chars().next() {
            Some('>' | '|') if !rest.starts_with(">>") => diagnostic.help("steps are chained with `>>`"),
            _ => diagnostic,
        }
    }

    /// A complaint about a range of the chain.
    pub(crate) fn bad(&self, range: Range<usize>, message: &str) -> Diagnostic {
        Diagnostic::error(Code::BadChain, format!("in this chain: {message}")).at(self.span(range))
    }
}

/// The length of the text to show as what was found.
fn token_length(text: &str) -> usize {
    const LONGEST: usize = 30;
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let word = text
        .chars()
        .take_while(|&c| is_word(c))
        .take(LONGEST)
        .map(char::len_utf8)
        .sum();
    match (word, text.starts_with(">>"), text.chars().next()) {
        (0, true, _) => 2,
        (0, _, Some(next)) => next.len_utf8(),
        _ => word,
    }
}
