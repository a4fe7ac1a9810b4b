//! Type checking of an expression against the static type of a node; the result is a condition on facts.

use std::collections::BTreeSet;

use towline_api::{DatasetType, NodeType, suggest};

use crate::checks::fact::{Fact, Measure};
use crate::checks::result_type::{Type, result_type};
use crate::config::expression::quoted;
use crate::config::expression::{
    Binary, ColumnProperty, Expr, ExprKind, ExpressionError, Name, Scalar, TextRange, Word,
};
use crate::config::yaml::Code;

/// The names that an expectation may use: a node's metrics and output.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The metrics that its operator reports.
    pub metrics: &'a [String],
    /// The type of its output.
    pub output: &'a NodeType,
}

/// An expression whose every name stands for a fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The expression as it was written.
    pub text: String,
    pub(crate) root: Operand,
}

/// A part of a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A number or a text of the expression's own.
    Constant(Scalar),
    /// A fact about the output.
    Fact(Fact),
    /// `-x`.
    Negate(Box<Operand>),
    /// `not x`.
    Not(Box<Operand>),
    /// A binary operation.
    Binary {
        /// The operator.
        operator: Binary,
        /// The left one.
        left: Box<Operand>,
        /// The right one.
        right: Box<Operand>,
        /// The range in the text.
        range: TextRange,
    },
}

impl Condition {
    /// The facts that its evaluation needs.
    pub fn facts(&self) -> BTreeSet<Fact> {
        let mut facts = BTreeSet::new();
        self.root.collect(&mut facts);
        facts
    }
}

impl Operand {
    fn collect(&self, facts: &mut BTreeSet<Fact>) {
        match self {
            Operand::Constant(_) => {}
            Operand::Fact(fact) => {
                facts.insert(fact.clone());
            }
            Operand::Negate(inner) | Operand::Not(inner) => inner.collect(facts),
            Operand::Binary { left, right, .. } => {
                left.collect(facts);
                right.collect(facts);
            }
        }
    }
}

/// The condition for `expression`, written as `text`, in a scope; or all of its errors.
pub fn check(text: &str, expression: &Expr, scope: &Scope<'_>) -> Result<Condition, Vec<ExpressionError>> {
    let mut checker = Checker {
        scope,
        errors: Vec::new(),
    };
    let (root, found) = checker.expression(expression);
    checker.expect_type(Type::Boolean, found, expression.range, "compare it: `... > 0`");
    if checker.errors.is_empty() {
        Ok(Condition {
            text: text.to_owned(),
            root,
        })
    } else {
        Err(checker.errors)
    }
}

/// Infers the type of each part: `None` where an error was reported.
struct Checker<'a> {
    scope: &'a Scope<'a>,
    errors: Vec<ExpressionError>,
}

/// Placeholder for an invalid part; it is never evaluated.
fn error_operand() -> (Operand, Option<Type>) {
    (Operand::Constant(Scalar::Missing), None)
}

impl Checker<'_> {
    fn report(&mut self, error: ExpressionError) -> (Operand, Option<Type>) {
        self.errors.push(error);
        error_operand()
    }

    fn expect_type(&mut self, wanted: Type, found: Option<Type>, range: TextRange, help: &str) {
        if let Some(found) = found.filter(|found| *found != wanted) {
            let message = format!("expected {}, found {}", wanted.describe(), found.describe());
            self.errors
                .push(ExpressionError::new(Code::WrongType, range, message).help(help));
        }
    }

    fn expression(&mut self, expression: &Expr) -> (Operand, Option<Type>) {
        match &expression.kind {
            ExprKind::Number(number) => (Operand::Constant(Scalar::Number(*number)), Some(Type::Number)),
            ExprKind::Text(text) => (Operand::Constant(Scalar::Text(text.clone())), Some(Type::Text)),
            ExprKind::Name(name) => self.name(name),
            ExprKind::Call { function, column } => self.call(function, column),
            ExprKind::Is { column, property } => self.property(column, *property, expression.range),
            ExprKind::Negate(inner) => {
                let (operand, found) = self.expression(inner);
                self.expect_type(Type::Number, found, inner.range, "only a number can be negated");
                (Operand::Negate(Box::new(operand)), Some(Type::Number))
            }
            ExprKind::Not(inner) => {
                let (operand, found) = self.expression(inner);
                self.expect_type(Type::Boolean, found, inner.range, "compare it: `not ... > 0`");
                (Operand::Not(Box::new(operand)), Some(Type::Boolean))
            }
            ExprKind::Binary { operator, left, right } => self.binary(*operator, left, right, expression.range),
        }
    }

    fn binary(&mut self, operator: Binary, left: &Expr, right: &Expr, range: TextRange) -> (Operand, Option<Type>) {
        let (left_operand, left_type) = self.expression(left);
        let (right_operand, right_type) = self.expression(right);
        let mut both = |wanted, help| {
            self.expect_type(wanted, left_type, left.range, help);
            self.expect_type(wanted, right_type, right.range, help);
        };
        let result = match operator {
            Binary::Or | Binary::And => {
                both(Type::Boolean, "`and` and `or` join comparisons");
                Type::Boolean
            }
            Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide => {
                both(Type::Number, "arithmetic needs numbers");
                Type::Number
            }
            _ => {
                self.comparable(left_type.map(|t| (t, left.range)), right_type.map(|t| (t, right.range)));
                Type::Boolean
            }
        };
        let operand = Operand::Binary {
            operator,
            left: Box::new(left_operand),
            right: Box::new(right_operand),
            range,
        };
        (operand, Some(result))
    }

    fn comparable(&mut self, left: Option<(Type, TextRange)>, right: Option<(Type, TextRange)>) {
        let (Some((left, left_place)), Some((right, right_place))) = (left, right) else {
            return;
        };
        if let Some(range) = [(left, left_place), (right, right_place)]
            .into_iter()
            .find_map(|(found, range)| (found == Type::Boolean).then_some(range))
        {
            let message = "a boolean cannot be compared";
            let help = "join it with `and`, `or` and `not` instead";
            self.errors
                .push(ExpressionError::new(Code::WrongType, range, message).help(help));
        } else if left != right {
            let message = format!("cannot compare {} with {}", left.describe(), right.describe());
            let help = "strings are in single quotes, numbers in none; dates are strings: '2024-05-01'";
            self.errors
                .push(ExpressionError::new(Code::WrongType, right_place, message).help(help));
        }
    }

    fn dataset(&self) -> Option<&DatasetType> {
        match self.scope.output {
            NodeType::Dataset(dataset) => Some(dataset),
            _ => None,
        }
    }

    fn name(&mut self, name: &Name) -> (Operand, Option<Type>) {
        let dotted = name.dotted();
        let number = |fact| (Operand::Fact(fact), Some(Type::Number));
        if let Some(dataset) = self.dataset() {
            match name.words.as_slice() {
                [rows] if rows.text == "rows" => return number(Fact::Rows { split: None }),
                [split, rows] if rows.text == "rows" && !self.scope.metrics.contains(&dotted) => {
                    return match unknown_split(split, dataset) {
                        None => number(Fact::Rows {
                            split: Some(split.text.clone()),
                        }),
                        Some(error) => self.report(error),
                    };
                }
                _ => {}
            }
        }
        if self.scope.metrics.contains(&dotted) {
            return number(Fact::Metric(dotted));
        }
        if dotted == "records" && *self.scope.output == NodeType::Receipt {
            return number(Fact::Records);
        }
        let error = self.unknown_name(name, &dotted);
        self.report(error)
    }

    fn unknown_name(&self, name: &Name, dotted: &str) -> ExpressionError {
        let column = name.words.last().map_or("", |word| word.text.as_str());
        if let Some(dataset) = self.dataset()
            && dataset.schema.get(column).is_some()
        {
            let message = format!("`{dotted}` is a column, not a number");
            let help = format!("use a function of it: `min({name})`, `null_share({name})`, `{name} is unique`");
            return ExpressionError::new(Code::WrongType, name.range, message).help(help);
        }
        let mut known: Vec<&str> = self.scope.metrics.iter().map(String::as_str).collect();
        let mut others = Vec::new();
        match self.scope.output {
            NodeType::Dataset(dataset) => {
                known.push("rows");
                others.extend(dataset.schema.names());
            }
            NodeType::Receipt => known.push("records"),
            NodeType::Model(_) | NodeType::Metrics(_) => {}
        }
        let message = format!("the node `{}` has no metric `{dotted}`", self.scope.node);
        let near = suggest::nearest(dotted, &known).or_else(|| suggest::nearest(dotted, &others));
        let help = match (near, others.first()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(column)) => format!(
                "a dataset has `rows`, and functions of its columns: `nulls({})`",
                quoted(column)
            ),
            (None, None) => suggest::sentence(dotted, &known, "metrics"),
        };
        ExpressionError::new(Code::UnknownMetric, name.range, message).help(help)
    }

    fn call(&mut self, function: &Word, column: &Name) -> (Operand, Option<Type>) {
        let measure = Measure::ALL.into_iter().find(|m| m.as_str() == function.text);
        let Some(measure) = measure else {
            if let (true, [split]) = (function.text == "rows", column.words.as_slice()) {
                let message = "`rows` is not a function";
                let help = format!("write `{}.rows`", split.text);
                return self.report(ExpressionError::new(Code::UnknownFunction, function.range, message).help(help));
            }
            let known = Measure::ALL.map(Measure::as_str);
            let message = format!("there is no function `{}`", function.text);
            let help = suggest::sentence(&function.text, &known, "functions");
            return self.report(ExpressionError::new(Code::UnknownFunction, function.range, message).help(help));
        };
        match self.column(measure, column) {
            Ok((fact, found)) => (Operand::Fact(fact), Some(found)),
            Err(error) => self.report(error),
        }
    }

    fn property(&mut self, column: &Name, property: ColumnProperty, range: TextRange) -> (Operand, Option<Type>) {
        let (measure, other) = match property {
            ColumnProperty::Unique => (Measure::Distinct, Some(Measure::Values)),
            ColumnProperty::NotNull => (Measure::Nulls, None),
        };
        let left = match self.column(measure, column) {
            Ok((fact, _)) => Operand::Fact(fact),
            Err(error) => return self.report(error),
        };
        let right = match other.map(|measure| self.column(measure, column)) {
            Some(Ok((fact, _))) => Operand::Fact(fact),
            Some(Err(error)) => return self.report(error),
            None => Operand::Constant(Scalar::Number(0.0)),
        };
        let operand = Operand::Binary {
            operator: Binary::Equal,
            left: Box::new(left),
            right: Box::new(right),
            range,
        };
        (operand, Some(Type::Boolean))
    }

    /// The fact about a column in all splits or in one, and its type.
    fn column(&self, measure: Measure, name: &Name) -> Result<(Fact, Type), ExpressionError> {
        let Some(dataset) = self.dataset() else {
            let message = format!(
                "the node `{}` has no columns: its output is {}",
                self.scope.node,
                match self.scope.output {
                    NodeType::Model(_) => "a model",
                    NodeType::Metrics(_) => "metrics",
                    _ => "a receipt",
                }
            );
            return Err(ExpressionError::new(Code::UnknownColumn, name.range, message));
        };
        let (split, word) = match name.words.as_slice() {
            [column] => (None, column),
            [split, column] => (Some(split), column),
            _ => {
                let message = format!("`{}` is not a column", name.dotted());
                return Err(ExpressionError::new(Code::UnknownColumn, name.range, message)
                    .help("quote a name with a dot: \"a.b\"; the word before a dot is a split"));
            }
        };
        if let Some(error) = split.and_then(|split| unknown_split(split, dataset)) {
            return Err(error);
        }
        let Some(column) = dataset.schema.get(&word.text) else {
            let names: Vec<&str> = dataset.schema.names().collect();
            let message = format!("the node `{}` has no column `{}`", self.scope.node, word.text);
            let help = suggest::sentence(&word.text, &names, "columns");
            return Err(ExpressionError::new(Code::UnknownColumn, word.range, message).help(help));
        };
        let Some(found) = result_type(measure, &column.data_type) else {
            let message = format!(
                "`{}` is not defined for `{}` of type {}",
                measure.as_str(),
                column.name,
                column.data_type
            );
            let help = "`min` and `max` take numbers, strings and times, `mean` numbers and booleans; `nulls`, `null_share` and `values` take anything";
            return Err(ExpressionError::new(Code::WrongType, name.range, message).help(help));
        };
        let fact = Fact::Column {
            measure,
            split: split.map(|split| split.text.clone()),
            column: column.name.clone(),
        };
        Ok((fact, found))
    }
}

fn unknown_split(split: &Word, dataset: &DatasetType) -> Option<ExpressionError> {
    if dataset.splits.contains(&split.text) {
        return None;
    }
    let known: Vec<&str> = dataset.splits.iter().map(String::as_str).collect();
    let message = format!("there is no split `{}`", split.text);
    let help = suggest::sentence(&split.text, &known, "splits");
    Some(ExpressionError::new(Code::UnknownSplit, split.range, message).help(help))
}
