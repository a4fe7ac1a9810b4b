//! The syntax tree of an expression, and its canonical text.

use std::fmt;

/// A range in the text of an expression, in bytes: `start..end`. Ranges are ignored when trees are compared: two trees
/// are equal if they say the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextRange {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl PartialEq for TextRange {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl TextRange {
    /// From the start of this range to the end of the other.
    #[must_use]
    pub fn to(self, other: TextRange) -> TextRange {
        TextRange {
            start: self.start,
            end: other.end,
        }
    }
}

/// An expression and its range.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// The kind.
    pub kind: ExprKind,
    /// The range in the text.
    pub range: TextRange,
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number that is not negative.
    Number(f64),
    /// A text in single quotes.
    Text(String),
    /// A metric or a number of rows.
    Name(Name),
    /// A function of a column.
    Call {
        /// The function.
        function: Word,
        /// The column, with a split before it or not.
        column: Name,
    },
    /// A column that is unique, or not null.
    Is {
        /// The column, with a split before it or not.
        column: Name,
        /// The property.
        property: ColumnProperty,
    },
    /// `-x`.
    Negate(Box<Expr>),
    /// `not x`.
    Not(Box<Expr>),
    /// A binary operation.
    Binary {
        /// The operator.
        operator: Binary,
        /// The left one.
        left: Box<Expr>,
        /// The right one.
        right: Box<Expr>,
    },
}

/// A property of a column that an expression can assert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnProperty {
    /// No value occurs twice; nulls do not count.
    Unique,
    /// No value is null.
    NotNull,
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `or`
    Or,
    /// `and`
    And,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
}

impl Binary {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Binary::Or => "or",
            Binary::And => "and",
            Binary::Less => "<",
            Binary::LessOrEqual => "<=",
            Binary::Greater => ">",
            Binary::GreaterOrEqual => ">=",
            Binary::Equal => "==",
            Binary::Unequal => "!=",
            Binary::Add => "+",
            Binary::Subtract => "-",
            Binary::Multiply => "*",
            Binary::Divide => "/",
        }
    }

    /// Whether it is a comparison.
    pub fn compares(self) -> bool {
        self.precedence() == COMPARISON_PRECEDENCE
    }

    /// Operator precedence; higher binds tighter.
    fn precedence(self) -> u8 {
        match self {
            Binary::Or => 1,
            Binary::And => 2,
            Binary::Add | Binary::Subtract => 5,
            Binary::Multiply | Binary::Divide => 6,
            _ => COMPARISON_PRECEDENCE,
        }
    }
}

const NOT_PRECEDENCE: u8 = 3;
const COMPARISON_PRECEDENCE: u8 = 4;
const SIGN_PRECEDENCE: u8 = 7;
const ATOM_PRECEDENCE: u8 = 8;

/// Words in a row with dots between them: a metric, a column, or a split and what of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// The words; at least one.
    pub words: Vec<Word>,
    /// The range in the text.
    pub range: TextRange,
}

impl Name {
    /// The words joined with dots, as metrics are named.
    pub fn dotted(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        words.join(".")
    }
}

/// A word and its range.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// The word without its quotes.
    pub text: String,
    /// The range in the text.
    pub range: TextRange,
}

/// The words that no name can be without quotes, in any case.
pub(crate) const RESERVED: [&str; 4] = ["and", "or", "not", "is"];

pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

/// The word as an expression has it: in double quotes where it needs them.
pub(crate) fn quoted(word: &str) -> String {
    let bare = word.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && word.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !is_reserved(word);
    if bare {
        word.to_owned()
    } else {
        format!("\"{}\"", word.replace('"', "\"\""))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.words.iter().map(|word| quoted(&word.text)).collect();
        f.write_str(&words.join("."))
    }
}

impl Expr {
    fn precedence(&self) -> u8 {
        match &self.kind {
            ExprKind::Binary { operator, .. } => operator.precedence(),
            ExprKind::Not(_) => NOT_PRECEDENCE,
            ExprKind::Is { .. } => COMPARISON_PRECEDENCE,
            ExprKind::Negate(_) => SIGN_PRECEDENCE,
            _ => ATOM_PRECEDENCE,
        }
    }

    /// Writes the expression, in parentheses if it binds less tightly than its surroundings need.
    fn write(&self, f: &mut fmt::Formatter<'_>, needed: u8) -> fmt::Result {
        if self.precedence() < needed {
            f.write_str("(")?;
            self.write(f, 0)?;
            return f.write_str(")");
        }
        match &self.kind {
            ExprKind::Number(number) => write!(f, "{}", crate::config::expression::scalar::number(*number)),
            ExprKind::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            ExprKind::Name(name) => write!(f, "{name}"),
            ExprKind::Call { function, column } => write!(f, "{}({column})", quoted(&function.text)),
            ExprKind::Is { column, property } => match property {
                ColumnProperty::Unique => write!(f, "{column} is unique"),
                ColumnProperty::NotNull => write!(f, "{column} is not null"),
            },
            ExprKind::Negate(inner) => {
                f.write_str("-")?;
                inner.write(f, SIGN_PRECEDENCE)
            }
            ExprKind::Not(inner) => {
                f.write_str("not ")?;
                inner.write(f, NOT_PRECEDENCE)
            }
            ExprKind::Binary { operator, left, right } => {
                let precedence = operator.precedence();
                // A comparison takes no other beside it; all else leans to the left.
                left.write(f, precedence + u8::from(operator.compares()))?;
                write!(f, " {} ", operator.as_str())?;
                right.write(f, precedence + 1)
            }
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}
