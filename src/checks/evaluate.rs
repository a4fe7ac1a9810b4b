//! Evaluation of a condition with its facts.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checks::check::{Condition, Operand};
use crate::checks::fact::Fact;
use crate::config::expression::{Binary, Scalar};

/// The result of a condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it holds. A condition on an undefined value does not hold, and neither does its negation.
    pub met: bool,
    /// The values of its parts, in the order of the expression.
    pub parts: Vec<Part>,
}

/// A part of a condition: a fact, or a calculated side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The part as an expression has it.
    pub text: String,
    /// The value.
    pub value: Scalar,
}

/// The value of a part.
enum Value {
    Scalar(Scalar),
    /// `None` where an operand is undefined.
    Boolean(Option<bool>),
}

impl Condition {
    /// Evaluates the condition. A fact that is not given is undefined.
    pub fn evaluate(&self, facts: &BTreeMap<Fact, Scalar>) -> Outcome {
        let mut evaluation = Evaluation {
            text: &self.text,
            facts,
            parts: Vec::new(),
        };
        let met = matches!(evaluation.value(&self.root), Value::Boolean(Some(true)));
        Outcome {
            met,
            parts: evaluation.parts,
        }
    }
}

struct Evaluation<'a> {
    text: &'a str,
    facts: &'a BTreeMap<Fact, Scalar>,
    parts: Vec<Part>,
}

impl Evaluation<'_> {
    fn value(&mut self, operand: &Operand) -> Value {
        match operand {
            Operand::Constant(scalar) => Value::Scalar(scalar.clone()),
            Operand::Fact(fact) => {
                let value = self.facts.get(fact).cloned().unwrap_or(Scalar::Missing);
                self.note(fact.to_string(), &value);
                Value::Scalar(value)
            }
            Operand::Negate(inner) => Value::Scalar(match self.number(inner) {
                Some(number) => Scalar::Number(-number),
                None => Scalar::Missing,
            }),
            Operand::Not(inner) => Value::Boolean(self.truth(inner).map(|truth| !truth)),
            Operand::Binary {
                operator, left, right, ..
            } => self.binary(*operator, left, right),
        }
    }

    fn binary(&mut self, operator: Binary, left: &Operand, right: &Operand) -> Value {
        match operator {
            Binary::And | Binary::Or => {
                // Both sides are evaluated, so that a failure shows the values of all parts.
                let (left, right) = (self.truth(left), self.truth(right));
                let decisive = operator == Binary::Or;
                Value::Boolean(match (left, right) {
                    (Some(truth), _) | (_, Some(truth)) if truth == decisive => Some(decisive),
                    (Some(_), Some(_)) => Some(!decisive),
                    _ => None,
                })
            }
            Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide => {
                let (left, right) = (self.number(left), self.number(right));
                let (Some(left), Some(right)) = (left, right) else {
                    return Value::Scalar(Scalar::Missing);
                };
                Value::Scalar(Scalar::of(match operator {
                    Binary::Add => left + right,
                    Binary::Subtract => left - right,
                    Binary::Multiply => left * right,
                    _ if right == 0.0 => f64::NAN,
                    _ => left / right,
                }))
            }
            comparison => {
                let (left, right) = (self.side(left), self.side(right));
                let order = match (&left, &right) {
                    (Scalar::Number(left), Scalar::Number(right)) => left.partial_cmp(right),
                    (Scalar::Text(left), Scalar::Text(right)) => Some(left.cmp(right)),
                    _ => None,
                };
                Value::Boolean(order.map(|order| compare(comparison, order)))
            }
        }
    }

    /// A side of a comparison; the value of a calculated one is recorded.
    fn side(&mut self, operand: &Operand) -> Scalar {
        let Value::Scalar(value) = self.value(operand) else {
            return Scalar::Missing;
        };
        if let Operand::Binary { range, .. } = operand {
            let text = self.text.get(range.start..range.end).unwrap_or_default();
            self.note(text.to_owned(), &value);
        }
        value
    }

    fn note(&mut self, text: String, value: &Scalar) {
        if !self.parts.iter().any(|part| part.text == text) {
            let value = value.clone();
            self.parts.push(Part { text, value });
        }
    }

    fn number(&mut self, operand: &Operand) -> Option<f64> {
        match self.value(operand) {
            Value::Scalar(Scalar::Number(number)) => Some(number),
            _ => None,
        }
    }

    fn truth(&mut self, operand: &Operand) -> Option<bool> {
        match self.value(operand) {
            Value::Boolean(truth) => truth,
            Value::Scalar(_) => None,
        }
    }
}

fn compare(comparison: Binary, order: Ordering) -> bool {
    match comparison {
        Binary::Less => order.is_lt(),
        Binary::LessOrEqual => order.is_le(),
        Binary::Greater => order.is_gt(),
        Binary::GreaterOrEqual => order.is_ge(),
        Binary::Unequal => order.is_ne(),
        _ => order.is_eq(),
    }
}
