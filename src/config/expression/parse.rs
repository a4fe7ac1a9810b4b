//! From text to a tree.

use crate::config::expression::Complaint;
use crate::config::expression::syntax::{Binary, Expr, ExprKind, Name, Place, Quality, Word};
use crate::config::expression::token::{Kind, Token, tokens};
use crate::config::yaml::Code;

/// Parentheses, signs and `not`s may nest this deep.
const MAX_DEPTH: usize = 50;

const EXAMPLE: &str = "an expectation reads like `rows > 0`, `user_id is unique` or `null_share(user_age) < 0.05`";

/// The expression in a text.
pub fn parse(text: &str) -> Result<Expr, Complaint> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        end: text.len(),
        tokens: &tokens,
        depth: 0,
    };
    let expression = parser.or()?;
    match parser.peek() {
        None => Ok(expression),
        Some(Kind::Sign("is")) => Err(parser
            .expected("`and`, `or` or the end")
            .help("`is unique` and `is not null` speak of a column: write its name alone before them")),
        Some(_) => Err(parser.expected("a comparison, `and`, `or` or the end").help(EXAMPLE)),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    end: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Kind> {
        self.tokens.first().map(|token| &token.kind)
    }

    fn place(&self) -> Place {
        self.tokens.first().map_or(
            Place {
                start: self.end,
                end: self.end,
            },
            |token| token.place,
        )
    }

    fn next(&mut self) -> Option<&'t Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn eat(&mut self, sign: &str) -> Option<Place> {
        match self.tokens.first() {
            Some(Token {
                kind: Kind::Sign(found),
                place,
            }) if *found == sign => {
                self.next();
                Some(*place)
            }
            _ => None,
        }
    }

    /// A word that means something in this place alone.
    fn eat_word(&mut self, word: &str) -> Option<Place> {
        match self.tokens.first() {
            Some(Token {
                kind: Kind::Word(found),
                place,
            }) if found.eq_ignore_ascii_case(word) => {
                self.next();
                Some(*place)
            }
            _ => None,
        }
    }

    fn expected(&self, what: &str) -> Complaint {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(Kind::Number(number)) => format!("the number {}", crate::config::expression::scalar::number(*number)),
            Some(Kind::Text(text)) => format!("the text '{text}'"),
            Some(Kind::Word(word)) => format!("`{word}`"),
            Some(Kind::Sign(sign)) => format!("`{sign}`"),
        };
        Complaint::new(
            Code::BadExpectation,
            self.place(),
            format!("expected {what}, found {found}"),
        )
    }

    /// What `inner` reads, one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Complaint>) -> Result<T, Complaint> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("the expression is nested more than {MAX_DEPTH} deep");
            return Err(Complaint::new(Code::BadExpectation, self.place(), message));
        }
        let read = inner(self)?;
        self.depth -= 1;
        Ok(read)
    }

    /// Terms that lean to the left, with any of `operators` between them.
    fn left(
        &mut self,
        operators: &[Binary],
        term: fn(&mut Self) -> Result<Expr, Complaint>,
    ) -> Result<Expr, Complaint> {
        let mut left = term(self)?;
        while let Some(&operator) = operators.iter().find(|o| self.eat(o.as_str()).is_some()) {
            left = binary(operator, left, term(self)?);
        }
        Ok(left)
    }

    fn or(&mut self) -> Result<Expr, Complaint> {
        self.left(&[Binary::Or], Self::and)
    }

    fn and(&mut self) -> Result<Expr, Complaint> {
        self.left(&[Binary::And], Self::not)
    }

    fn not(&mut self) -> Result<Expr, Complaint> {
        let Some(start) = self.eat("not") else {
            return self.comparison();
        };
        let inner = self.deeper(Self::not)?;
        Ok(Expr {
            place: start.to(inner.place),
            kind: ExprKind::Not(Box::new(inner)),
        })
    }

    fn comparison(&mut self) -> Result<Expr, Complaint> {
        let left = self.sum()?;
        let Expr { kind, place } = left;
        let left = match kind {
            ExprKind::Name(column) if self.eat("is").is_some() => return self.quality(column),
            kind => Expr { kind, place },
        };
        let Some(operator) = self.comparator() else {
            return Ok(left);
        };
        let compared = binary(operator, left, self.sum()?);
        let again = self.place();
        if self.comparator().is_some() {
            let message = "two comparisons in a row mean nothing here";
            let help = "write both and join them: `0 < x and x < 1`";
            return Err(Complaint::new(Code::BadExpectation, again, message).help(help));
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

    fn quality(&mut self, column: Name) -> Result<Expr, Complaint> {
        let start = self.place();
        let negated = self.eat("not").is_some();
        let found = if negated {
            self.eat_word("null").map(|end| (Quality::NotNull, end))
        } else {
            self.eat_word("unique").map(|end| (Quality::Unique, end))
        };
        let Some((quality, end)) = found else {
            let mut complaint = self.expected("`unique` or `not null`");
            complaint.place = Place {
                start: start.start,
                end: complaint.place.end.max(start.end),
            };
            let help = "to say the opposite, write `not (user_id is unique)`, or compare `nulls(user_id)`";
            return Err(complaint.help(help));
        };
        Ok(Expr {
            place: column.place.to(end),
            kind: ExprKind::Is { column, quality },
        })
    }

    fn sum(&mut self) -> Result<Expr, Complaint> {
        self.left(&[Binary::Add, Binary::Subtract], Self::product)
    }

    fn product(&mut self) -> Result<Expr, Complaint> {
        self.left(&[Binary::Multiply, Binary::Divide], Self::sign)
    }

    fn sign(&mut self) -> Result<Expr, Complaint> {
        let Some(start) = self.eat("-") else {
            return self.atom();
        };
        let inner = self.deeper(Self::sign)?;
        Ok(Expr {
            place: start.to(inner.place),
            kind: ExprKind::Negate(Box::new(inner)),
        })
    }

    fn atom(&mut self) -> Result<Expr, Complaint> {
        if let Some(start) = self.eat("(") {
            let inner = self.deeper(Self::or)?;
            let Some(end) = self.eat(")") else {
                return Err(self.expected("`)`"));
            };
            return Ok(Expr {
                place: start.to(end),
                ..inner
            });
        }
        let place = self.place();
        let kind = match self.peek() {
            Some(Kind::Number(number)) => ExprKind::Number(*number),
            Some(Kind::Text(text)) => ExprKind::Text(text.clone()),
            Some(Kind::Word(_)) => return self.name_or_call(),
            _ => return Err(self.expected("a number, a name or a function").help(EXAMPLE)),
        };
        self.next();
        Ok(Expr { kind, place })
    }

    fn name_or_call(&mut self) -> Result<Expr, Complaint> {
        let mut name = self.name("a name")?;
        if name.words.len() == 1 && self.eat("(").is_some() {
            let column = self.name("the name of a column")?;
            let Some(end) = self.eat(")") else {
                let help = "a function takes one column: `min(price)`, or one of a split: `min(train.price)`";
                return Err(self.expected("`)`").help(help));
            };
            let place = name.place.to(end);
            let function = name.words.remove(0);
            return Ok(Expr {
                kind: ExprKind::Call { function, column },
                place,
            });
        }
        Ok(Expr {
            place: name.place,
            kind: ExprKind::Name(name),
        })
    }

    fn name(&mut self, what: &str) -> Result<Name, Complaint> {
        let mut words = vec![self.word(what)?];
        while self.eat(".").is_some() {
            words.push(self.word("the rest of the name")?);
        }
        let place = words
            .iter()
            .map(|word| word.place)
            .reduce(Place::to)
            .unwrap_or_default();
        Ok(Name { words, place })
    }

    fn word(&mut self, what: &str) -> Result<Word, Complaint> {
        match self.tokens.first() {
            Some(Token {
                kind: Kind::Word(text),
                place,
            }) => {
                self.next();
                Ok(Word {
                    text: text.clone(),
                    place: *place,
                })
            }
            Some(Token {
                kind: Kind::Sign(sign), ..
            }) if crate::config::expression::syntax::is_reserved(sign) => Err(self
                .expected(what)
                .help("a name that is a word of the language stands in double quotes")),
            _ => Err(self.expected(what)),
        }
    }
}

fn binary(operator: Binary, left: Expr, right: Expr) -> Expr {
    Expr {
        place: left.place.to(right.place),
        kind: ExprKind::Binary {
            operator,
            left: Box::new(left),
            right: Box::new(right),
        },
    }
}
