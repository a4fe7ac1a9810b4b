//! Chain expressions: `clicks[user_id, tag:item] >> Categorify(min_count=2) >> TagAsUserID`, `a + b`, `name.train`.
//!
//! ```text
//! sum   := chain ('+' chain)*
//! chain := term ('>>' step)*
//! term  := name ['.' split] ['[' selection (',' selection)* ']'] ['.' split] | '(' sum ')'
//! step  := Name [ '(' [key '=' value (',' key '=' value)*] ')' ]
//! ```

use crate::document::{Diagnostic, Key, Mapping, SourceMap, Span, Value, ValueKind, resolve_plain};

use super::{Selection, Spanned};

/// Parentheses may nest this deep.
const MAX_DEPTH: usize = 50;

#[derive(Debug)]
pub(super) enum Expr {
    Term(Term),
    Steps { input: Box<Expr>, steps: Vec<Step> },
    Sum(Vec<Expr>, Span),
}

#[derive(Debug)]
pub(super) struct Term {
    pub(super) node: Spanned<String>,
    pub(super) columns: Option<Vec<Selection>>,
    pub(super) split: Option<Spanned<String>>,
    pub(super) span: Span,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) op: Spanned<String>,
    pub(super) config: Value,
}

/// The expression in a scalar. Places are those in the file where the scalar stands there as it is, and the whole
/// scalar's otherwise (escapes, folded lines, replaced variables).
pub(super) fn parse(sources: &SourceMap, text: &str, span: Span) -> Result<Expr, Diagnostic> {
    let raw = sources.slice(span);
    let offset = if raw == text {
        Some(0)
    } else {
        (raw.get(1..raw.len().saturating_sub(1)) == Some(text)).then_some(1)
    };
    let mut parser = Parser {
        text,
        position: 0,
        span,
        offset,
        depth: 0,
    };
    let expression = parser.sum()?;
    parser.space();
    if parser.rest().is_empty() {
        Ok(expression)
    } else {
        Err(parser.expected("`>>`, `+` or the end"))
    }
}

struct Parser<'t> {
    text: &'t str,
    position: usize,
    span: Span,
    offset: Option<usize>,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.position..]
    }

    fn space(&mut self) {
        self.position += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.position += token.len();
        }
        found
    }

    fn place(&self, start: usize, end: usize) -> Span {
        match self.offset {
            Some(offset) => Span {
                start: self.span.start + offset + start,
                end: self.span.start + offset + end,
                ..self.span
            },
            None => self.span,
        }
    }

    fn expected(&self, what: &str) -> Diagnostic {
        let rest = self.rest();
        let length = rest.chars().next().map_or(0, char::len_utf8);
        let found = if length == 0 {
            "the end".to_owned()
        } else {
            format!("`{}`", &rest[..length])
        };
        let place = self.place(self.position, self.position + length);
        Diagnostic::error("bad-chain", place, format!("expected {what}, found {found}"))
            .help("a chain reads like `clicks[user_id] >> Categorify(min_count=2) >> TagAsUserID`, or `a + b`")
    }

    fn word(&mut self, what: &str) -> Result<Spanned<String>, Diagnostic> {
        self.space();
        let start = self.position;
        let rest = self.rest();
        let length = rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')))
            .unwrap_or(rest.len());
        if length == 0 || rest.starts_with('-') {
            return Err(self.expected(what));
        }
        self.position += length;
        Ok(Spanned {
            value: rest[..length].to_owned(),
            span: self.place(start, self.position),
        })
    }

    fn quoted(&mut self) -> Result<Option<Spanned<String>>, Diagnostic> {
        self.space();
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            return Ok(None);
        };
        let start = self.position;
        let Some(length) = self.rest()[1..].find(quote) else {
            self.position = self.text.len();
            return Err(self.expected(&format!("a closing {quote}")));
        };
        let value = self.rest()[1..=length].to_owned();
        self.position += length + 2;
        Ok(Some(Spanned {
            value,
            span: self.place(start, self.position),
        }))
    }

    fn sum(&mut self) -> Result<Expr, Diagnostic> {
        let start = self.position;
        let mut terms = vec![self.chain()?];
        while self.eat("+") {
            terms.push(self.chain()?);
        }
        match terms.pop() {
            Some(only) if terms.is_empty() => Ok(only),
            Some(last) => {
                terms.push(last);
                Ok(Expr::Sum(terms, self.place(start, self.position)))
            }
            None => Err(self.expected("a node")),
        }
    }

    fn chain(&mut self) -> Result<Expr, Diagnostic> {
        let input = self.term()?;
        let mut steps = Vec::new();
        while self.eat(">>") {
            steps.push(self.step()?);
        }
        Ok(if steps.is_empty() {
            input
        } else {
            Expr::Steps {
                input: Box::new(input),
                steps,
            }
        })
    }

    fn term(&mut self) -> Result<Expr, Diagnostic> {
        if self.eat("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(self.expected(&format!("at most {MAX_DEPTH} open parentheses")));
            }
            let inner = self.sum()?;
            self.depth -= 1;
            return if self.eat(")") {
                Ok(inner)
            } else {
                Err(self.expected("`)`"))
            };
        }
        let node = self.word("the name of a node")?;
        let start = self.position - node.value.len();
        let mut split = self.split()?;
        let columns = if self.eat("[") { Some(self.selections()?) } else { None };
        if split.is_none() {
            split = self.split()?;
        }
        let span = self.place(start, self.position);
        Ok(Expr::Term(Term {
            node,
            columns,
            split,
            span,
        }))
    }

    fn split(&mut self) -> Result<Option<Spanned<String>>, Diagnostic> {
        if self.eat(".") {
            self.word("the name of a split").map(Some)
        } else {
            Ok(None)
        }
    }

    fn selections(&mut self) -> Result<Vec<Selection>, Diagnostic> {
        let mut out = Vec::new();
        loop {
            if let Some(column) = self.quoted()? {
                out.push(Selection::Column(column));
            } else {
                let word = self.word("the name of a column, or tag:name")?;
                if word.value == "tag" && self.eat(":") {
                    out.push(Selection::Tag(self.word("a tag")?));
                } else {
                    out.push(Selection::Column(word));
                }
            }
            if self.eat("]") {
                return Ok(out);
            }
            if !self.eat(",") {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn step(&mut self) -> Result<Step, Diagnostic> {
        let op = self.word("the name of an operator")?;
        let mut entries: Vec<(Key, Value)> = Vec::new();
        if self.eat("(") && !self.eat(")") {
            loop {
                let key = self.word("the name of a parameter")?;
                if !self.eat("=") {
                    return Err(self.expected("`=`"));
                }
                if entries.iter().any(|(k, _)| k.text == key.value) {
                    let message = format!("the parameter `{}` is here twice", key.value);
                    return Err(Diagnostic::error("duplicate-key", key.span, message));
                }
                let value = self.value()?;
                entries.push((
                    Key {
                        text: key.value,
                        span: key.span,
                    },
                    value,
                ));
                if self.eat(")") {
                    break;
                }
                if !self.eat(",") {
                    return Err(self.expected("`,` or `)`"));
                }
            }
        }
        let config = Value {
            kind: ValueKind::Mapping(Mapping(entries)),
            span: op.span,
        };
        Ok(Step { op, config })
    }

    fn value(&mut self) -> Result<Value, Diagnostic> {
        if let Some(text) = self.quoted()? {
            return Ok(Value {
                kind: ValueKind::String(text.value),
                span: text.span,
            });
        }
        self.space();
        let start = self.position;
        if self.eat("[") {
            let mut items = Vec::new();
            while !self.eat("]") {
                items.push(self.scalar()?);
                if !self.eat(",") && !self.rest().trim_start().starts_with(']') {
                    return Err(self.expected("`,` or `]`"));
                }
            }
            return Ok(Value {
                kind: ValueKind::Sequence(items),
                span: self.place(start, self.position),
            });
        }
        self.scalar()
    }

    fn scalar(&mut self) -> Result<Value, Diagnostic> {
        if let Some(text) = self.quoted()? {
            return Ok(Value {
                kind: ValueKind::String(text.value),
                span: text.span,
            });
        }
        self.space();
        let start = self.position;
        let rest = self.rest();
        let length = rest.find([',', ')', ']', '[', '(', '=']).unwrap_or(rest.len());
        let word = rest[..length].trim_end();
        if word.is_empty() {
            return Err(self.expected("a value"));
        }
        self.position += word.len();
        Ok(Value {
            kind: resolve_plain(word),
            span: self.place(start, self.position),
        })
    }
}
