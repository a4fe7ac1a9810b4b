//! The grammar:
//!
//! ```text
//! expr      := term ('+' term)*
//! term      := primary ('>>' step)*
//! primary   := reference | '(' expr ')'
//! reference := name [columns] ['.' split] | name '.' split columns
//! columns   := '[' selector (',' selector)* ']'        selector := column | 'tag:' tag
//! step      := operator ['(' [arg (',' arg)*] ')']      arg := key '=' value
//! value     := number | text | true | false | null | '[' [value (',' value)*] ']'
//! ```

use std::collections::HashMap;

use crate::config::chain::cursor::Cursor;
use crate::config::chain::{Expr, ReferenceExpr, Selector, Step};
use crate::config::names::is_name_byte;
use crate::config::yaml::{Code, Diagnostic, Key, Span, SpanMap, Spanned, Value, ValueKind, resolve_scalar};

/// Maximum nesting depth of parentheses and lists, as each level is a call.
const MAX_NESTING: usize = 50;

/// Reads one chain and stops at its first mistake: what follows one is guesswork.
pub(crate) struct Parser<'a> {
    cursor: Cursor<'a>,
    nesting: usize,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str, span_map: SpanMap) -> Self {
        Self {
            cursor: Cursor::new(text, span_map),
            nesting: 0,
        }
    }

    /// The whole text as one chain.
    pub(crate) fn chain(mut self) -> Result<Expr, Box<Diagnostic>> {
        let expr = self.expr()?;
        self.cursor.skip_space();
        if self.cursor.rest().is_empty() {
            return Ok(expr);
        }
        let what = match expr {
            Expr::Steps { .. } => "`>>`, `+`, `(` or the end",
            _ => "`>>`, `+` or the end",
        };
        Err(self.cursor.expected(what).into())
    }

    fn expr(&mut self) -> Result<Expr, Box<Diagnostic>> {
        let start = self.cursor.start();
        let mut terms = Vec::new();
        loop {
            match self.term()? {
                Expr::Join { terms: inner, .. } => terms.extend(inner),
                term => terms.push(term),
            }
            let end = self.cursor.position();
            if !self.cursor.eat("+") {
                let span = self.cursor.span(start..end);
                return Ok(match terms.pop() {
                    Some(only) if terms.is_empty() => only,
                    last => {
                        terms.extend(last);
                        Expr::Join { terms, span }
                    }
                });
            }
        }
    }

    fn term(&mut self) -> Result<Expr, Box<Diagnostic>> {
        let source = if self.cursor.eat("(") {
            self.enter()?;
            let inner = self.expr()?;
            self.close(")", "`>>`, `+` or `)`")?;
            inner
        } else {
            Expr::Reference(self.reference()?)
        };
        let mut steps = Vec::new();
        while self.cursor.eat(">>") {
            steps.push(self.step()?);
        }
        Ok(match source {
            source if steps.is_empty() => source,
            Expr::Steps {
                source,
                steps: mut before,
            } => {
                before.append(&mut steps);
                Expr::Steps { source, steps: before }
            }
            source => Expr::Steps {
                source: Box::new(source),
                steps,
            },
        })
    }

    fn enter(&mut self) -> Result<(), Box<Diagnostic>> {
        self.nesting += 1;
        if self.nesting <= MAX_NESTING {
            return Ok(());
        }
        let at = self.cursor.position();
        let mut diagnostic = self
            .cursor
            .bad(at - 1..at, &format!("more than {MAX_NESTING} levels of nesting"));
        diagnostic.code = Code::TooDeep;
        Err(diagnostic.into())
    }

    fn close(&mut self, token: &str, what: &str) -> Result<(), Box<Diagnostic>> {
        self.nesting -= 1;
        if self.cursor.eat(token) {
            Ok(())
        } else {
            Err(self.cursor.expected(what).into())
        }
    }

    fn reference(&mut self) -> Result<ReferenceExpr, Box<Diagnostic>> {
        let start = self.cursor.start();
        let name = self.name("the name of a node")?;
        let mut columns = self.columns()?;
        let mut split = None;
        if self.cursor.rest().starts_with('.') {
            self.cursor.eat(".");
            split = Some(self.name("the name of a split")?);
            if columns.is_none() {
                columns = self.columns()?;
            }
        }
        let end = self.cursor.position();
        Ok(ReferenceExpr {
            name,
            columns,
            split,
            span: self.cursor.span(start..end),
        })
    }

    fn name(&mut self, what: &str) -> Result<Spanned<String>, Box<Diagnostic>> {
        let (word, range) = self.cursor.word(|c| u8::try_from(c).is_ok_and(is_name_byte));
        if word.is_empty() {
            return Err(self.cursor.expected(what).into());
        }
        Ok(Spanned::new(word.to_owned(), self.cursor.span(range)))
    }

    fn columns(&mut self) -> Result<Option<Vec<Selector>>, Box<Diagnostic>> {
        if !self.cursor.rest().starts_with('[') {
            return Ok(None);
        }
        self.cursor.eat("[");
        let mut selectors = Vec::new();
        loop {
            selectors.push(self.selector()?);
            if self.cursor.eat("]") {
                return Ok(Some(selectors));
            }
            if !self.cursor.eat(",") {
                return Err(self.cursor.expected("`,` or `]`").into());
            }
        }
    }

    fn selector(&mut self) -> Result<Selector, Box<Diagnostic>> {
        if let Some((name, range)) = self.cursor.quoted()? {
            return Ok(Selector::Column(Spanned::new(name, self.cursor.span(range))));
        }
        let (word, range) = self.cursor.word(|c| !c.is_whitespace() && !",[]()\"'=+>".contains(c));
        if word.is_empty() {
            return Err(self.cursor.expected("the name of a column or `tag:`").into());
        }
        if let Some(tag) = word.strip_prefix("tag:") {
            let place = self.cursor.span(range.start + 4..range.end);
            return if tag.is_empty() {
                Err(self.cursor.expected("the name of a tag").into())
            } else {
                Ok(Selector::Tag(Spanned::new(tag.to_owned(), place)))
            };
        }
        Ok(Selector::Column(Spanned::new(word.to_owned(), self.cursor.span(range))))
    }

    fn step(&mut self) -> Result<Step, Box<Diagnostic>> {
        let op = self.name("the name of an operator")?;
        let mut args: Vec<(Key, Value)> = Vec::new();
        if !self.cursor.eat("(") {
            return Ok(Step { op, args });
        }
        if self.cursor.eat(")") {
            return Ok(Step { op, args });
        }
        let mut places: HashMap<String, Span> = HashMap::new();
        loop {
            let key = self.name("the name of a parameter")?;
            if !self.cursor.eat("=") {
                return Err(self.cursor.expected("`=`").into());
            }
            let value = self.value()?;
            if let Some(&first) = places.get(&key.value) {
                let message = format!("the parameter `{}` is given twice", key.value);
                return Err(Diagnostic::error(Code::DuplicateKey, message)
                    .at(key.span)
                    .label("again")
                    .related(first, "first here")
                    .into());
            }
            places.insert(key.value.clone(), key.span);
            args.push((key, value));
            if self.cursor.eat(")") {
                return Ok(Step { op, args });
            }
            if !self.cursor.eat(",") {
                return Err(self.cursor.expected("`,` or `)`").into());
            }
        }
    }

    fn value(&mut self) -> Result<Value, Box<Diagnostic>> {
        let start = self.cursor.start();
        if self.cursor.eat("[") {
            self.enter()?;
            let items = self.items()?;
            let span = self.cursor.span(start..self.cursor.position());
            return Ok(Value {
                kind: ValueKind::Sequence(items),
                span,
            });
        }
        if let Some((text, range)) = self.cursor.quoted()? {
            return Ok(Value {
                kind: ValueKind::String(text),
                span: self.cursor.span(range),
            });
        }
        let (word, range) = self.cursor.word(|c| !c.is_whitespace() && !",[]()\"'=>".contains(c));
        if word.is_empty() {
            return Err(self.cursor.expected("a value").into());
        }
        let span = self.cursor.span(range);
        match resolve_scalar(word) {
            Ok(kind) => Ok(Value { kind, span }),
            Err(error) => Err(Diagnostic::error(Code::OutOfRange, error.to_string()).at(span).into()),
        }
    }

    fn items(&mut self) -> Result<Vec<Value>, Box<Diagnostic>> {
        let mut items = Vec::new();
        if self.cursor.rest().trim_start().starts_with(']') {
            self.close("]", "`]`")?;
            return Ok(items);
        }
        loop {
            items.push(self.value()?);
            if !self.cursor.eat(",") {
                self.close("]", "`,` or `]`")?;
                return Ok(items);
            }
        }
    }
}
