//! The parser: recursive descent from tokens to a syntax tree.

use crate::config::expression::ExpressionError;
use crate::config::expression::syntax::{Binary, ColumnProperty, Expr, ExprKind, Name, TextRange, Word};
use crate::config::expression::token::{Token, TokenKind, tokens};
use crate::config::yaml::Code;

/// Parentheses, signs and `not`s may nest this deep.
const MAX_DEPTH: usize = 50;

const EXAMPLE: &str = "an expectation looks like `rows > 0`, `user_id is unique` or `null_share(user_age) < 0.05`";

/// The expression in a text.
pub fn parse(text: &str) -> Result<Expr, ExpressionError> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        end: text.len(),
        tokens: &tokens,
        depth: 0,
    };
    let expression = parser.or()?;
    match parser.peek() {
        None => Ok(expression),
        Some(TokenKind::Sign("is")) => Err(parser
            .expected("`and`, `or` or the end")
            .help("`is unique` and `is not null` need a column name before them")),
        Some(_) => Err(parser.expected("a comparison, `and`, `or` or the end").help(EXAMPLE)),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    end: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t TokenKind> {
        self.tokens.first().map(|token| &token.kind)
    }

    fn range(&self) -> TextRange {
        self.tokens.first().map_or(
            TextRange {
                start: self.end,
                end: self.end,
            },
            |token| token.range,
        )
    }

    fn next(&mut self) -> Option<&'t Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn eat(&mut self, sign: &str) -> Option<TextRange> {
        match self.tokens.first() {
            Some(Token {
                kind: TokenKind::Sign(found),
                range,
            }) if *found == sign => {
                self.next();
                Some(*range)
            }
            _ => None,
        }
    }

    /// A word that means something in this position alone.
    fn eat_word(&mut self, word: &str) -> Option<TextRange> {
        match self.tokens.first() {
            Some(Token {
                kind: TokenKind::Word(found),
                range,
            }) if found.eq_ignore_ascii_case(word) => {
                self.next();
                Some(*range)
            }
            _ => None,
        }
    }

    fn expected(&self, what: &str) -> ExpressionError {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(TokenKind::Number(number)) => {
                format!("the number {}", crate::config::expression::scalar::number(*number))
            }
            Some(TokenKind::Text(text)) => format!("the text '{text}'"),
            Some(TokenKind::Word(word)) => format!("`{word}`"),
            Some(TokenKind::Sign(sign)) => format!("`{sign}`"),
        };
        ExpressionError::new(
            Code::BadExpectation,
            self.range(),
            format!("expected {what}, found {found}"),
        )
    }

    /// The result of `inner`, one nesting level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, ExpressionError>) -> Result<T, ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("the expression is nested more than {MAX_DEPTH} deep");
            return Err(ExpressionError::new(Code::BadExpectation, self.range(), message));
        }
        let read = inner(self)?;
        self.depth -= 1;
        Ok(read)
    }

    /// Terms that lean to the left, with any of `operators` between them.
    fn left(
        &mut self,
        operators: &[Binary],
        term: fn(&mut Self) -> Result<Expr, ExpressionError>,
    ) -> Result<Expr, ExpressionError> {
        let mut left = term(self)?;
        while let Some(&operator) = operators.iter().find(|o| self.eat(o.as_str()).is_some()) {
            left = binary(operator, left, term(self)?);
        }
        Ok(left)
    }

    fn or(&mut self) -> Result<Expr, ExpressionError> {
        self.left(&[Binary::Or], Self::and)
    }

    fn and(&mut self) -> Result<Expr, ExpressionError> {
        self.left(&[Binary::And], Self::not)
    }

    fn not(&mut self) -> Result<Expr, ExpressionError> {
        let Some(start) = self.eat("not") else {
            return self.comparison();
        };
        let inner = self.deeper(Self::not)?;
        Ok(Expr {
            range: start.to(inner.range),
            kind: ExprKind::Not(Box::new(inner)),
        })
    }

    fn comparison(&mut self) -> Result<Expr, ExpressionError> {
        let left = self.sum()?;
        let Expr { kind, range } = left;
        let left = match kind {
            ExprKind::Name(column) if self.eat("is").is_some() => return self.property(column),
            kind => Expr { kind, range },
        };
        let Some(operator) = self.comparator() else {
            return Ok(left);
        };
        let compared = binary(operator, left, self.sum()?);
        let again = self.range();
        if self.comparator().is_some() {
            let message = "comparisons cannot be chained";
            let help = "write both and join them: `0 < x and x < 1`";
            return Err(ExpressionError::new(Code::BadExpectation, again, message).help(help));
        }
        Ok(compared)
    }

    fn comparator(&mut self) -> Option<Binary> {
        const ALL: [Binary; 6] = [
            Binary::Less,
            Binary::LessOrEqual,
            Binary::Greater,
            Binary::GreaterOrEqual,
            Binary::Equal,
            Binary::Unequal,
        ];
        if self.eat("=").is_some() {
            return Some(Binary::Equal);
        }
        ALL.into_iter().find(|operator| self.eat(operator.as_str()).is_some())
    }

    fn property(&mut self, column: Name) -> Result<Expr, ExpressionError> {
        let start = self.range();
        let negated = self.eat("not").is_some();
        let found = if negated {
            self.eat_word("null").map(|end| (ColumnProperty::NotNull, end))
        } else {
            self.eat_word("unique").map(|end| (ColumnProperty::Unique, end))
        };
        let Some((property, end)) = found else {
            let mut error = self.expected("`unique` or `not null`");
            error.range = TextRange {
                start: start.start,
                end: error.range.end.max(start.end),
            };
            let help = "to negate, write `not (user_id is unique)`, or compare `nulls(user_id)`";
            return Err(error.help(help));
        };
        Ok(Expr {
            range: column.range.to(end),
            kind: ExprKind::Is { column, property },
        })
    }

    fn sum(&mut self) -> Result<Expr, ExpressionError> {
        self.left(&[Binary::Add, Binary::Subtract], Self::product)
    }

    fn product(&mut self) -> Result<Expr, ExpressionError> {
        self.left(&[Binary::Multiply, Binary::Divide], Self::sign)
    }

    fn sign(&mut self) -> Result<Expr, ExpressionError> {
        let Some(start) = self.eat("-") else {
            return self.atom();
        };
        let inner = self.deeper(Self::sign)?;
        Ok(Expr {
            range: start.to(inner.range),
            kind: ExprKind::Negate(Box::new(inner)),
        })
    }

    fn atom(&mut self) -> Result<Expr, ExpressionError> {
        if let Some(start) = self.eat("(") {
            let inner = self.deeper(Self::or)?;
            let Some(end) = self.eat(")") else {
                return Err(self.expected("`)`"));
            };
            return Ok(Expr {
                range: start.to(end),
                ..inner
            });
        }
        let range = self.range();
        let kind = match self.peek() {
            Some(TokenKind::Number(number)) => ExprKind::Number(*number),
            Some(TokenKind::Text(text)) => ExprKind::Text(text.clone()),
            Some(TokenKind::Word(_)) => return self.name_or_call(),
            _ => return Err(self.expected("a number, a name or a function").help(EXAMPLE)),
        };
        self.next();
        Ok(Expr { kind, range })
    }

    fn name_or_call(&mut self) -> Result<Expr, ExpressionError> {
        let mut name = self.name("a name")?;
        if name.words.len() == 1 && self.eat("(").is_some() {
            let column = self.name("the name of a column")?;
            let Some(end) = self.eat(")") else {
                let help = "a function takes one column: `min(price)`, or one of a split: `min(train.price)`";
                return Err(self.expected("`)`").help(help));
            };
            let range = name.range.to(end);
            let function = name.words.remove(0);
            return Ok(Expr {
                kind: ExprKind::Call { function, column },
                range,
            });
        }
        Ok(Expr {
            range: name.range,
            kind: ExprKind::Name(name),
        })
    }

    fn name(&mut self, what: &str) -> Result<Name, ExpressionError> {
        let mut words = vec![self.word(what)?];
        while self.eat(".").is_some() {
            words.push(self.word("the rest of the name")?);
        }
        let range = words
            .iter()
            .map(|word| word.range)
            .reduce(TextRange::to)
            .unwrap_or_default();
        Ok(Name { words, range })
    }

    fn word(&mut self, what: &str) -> Result<Word, ExpressionError> {
        match self.tokens.first() {
            Some(Token {
                kind: TokenKind::Word(text),
                range,
            }) => {
                self.next();
                Ok(Word {
                    text: text.clone(),
                    range: *range,
                })
            }
            Some(Token {
                kind: TokenKind::Sign(sign),
                ..
            }) if crate::config::expression::syntax::is_reserved(sign) => Err(self
                .expected(what)
                .help("a reserved word as a name needs double quotes")),
            _ => Err(self.expected(what)),
        }
    }
}

fn binary(operator: Binary, left: Expr, right: Expr) -> Expr {
    Expr {
        range: left.range.to(right.range),
        kind: ExprKind::Binary {
            operator,
            left: Box::new(left),
            right: Box::new(right),
        },
    }
}
