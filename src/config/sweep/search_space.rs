//! The search space of a sweep: grid search over lists of values, or random search.

use std::collections::HashSet;

use crate::config::key_errors::{unknown_key, wrong_type};
use crate::config::nodes::parser::NodeParser;
use crate::config::nodes::unresolved::UnresolvedNode;
use crate::config::yaml::{Code, Diagnostic, Key, Mapping, Span, Value, ValueKind};

/// Maximum number of trials of a sweep.
const MAX_TRIALS: usize = 1_000;
/// Maximum number of draws for each trial, as combinations that were drawn before are drawn again.
const MAX_REDRAWS: usize = 50;
/// Significant digits of values drawn from a range.
const DIGITS: i32 = 4;

/// The parameter values of one trial, by parameter path.
pub(crate) type Assignment = Vec<(Key, Value)>;

/// The candidate values of one parameter.
enum ParameterValues {
    /// One of these.
    List(Vec<Value>),
    /// A number from a range.
    Range {
        min: f64,
        max: f64,
        log: bool,
        integer: bool,
        span: Span,
    },
}

/// The parameters of a sweep with their candidate values.
pub(crate) struct SearchSpace {
    parameters: Vec<(Key, ParameterValues)>,
    span: Span,
}

impl SearchSpace {
    /// Reads the value of `parameters`; errors are reported to the parser.
    pub(crate) fn read(parser: &mut NodeParser<'_>, written: &Value, node: &UnresolvedNode) -> Option<Self> {
        let Some(mapping) = written.as_mapping().filter(|mapping| !mapping.entries.is_empty()) else {
            parser.wrong_type(
                "`parameters` must be a mapping from parameters to their values",
                written,
            );
            return None;
        };
        let mut parameters = Vec::new();
        for (key, value) in &mapping.entries {
            if let Some((own, _)) = node
                .config
                .as_mapping()
                .and_then(|config| own_parameter(config, &key.value))
            {
                let message = format!("`{}` is swept and has a value of its own", key.value);
                let diagnostic = Diagnostic::error(Code::Conflict, message).at(key.span);
                parser.report(diagnostic.label("remove one of them").related(own.span, "the other"));
            }
            match choices(value) {
                Ok(choices) => parameters.push((key.clone(), choices)),
                Err(diagnostic) => parser.report(*diagnostic),
            }
        }
        Some(SearchSpace {
            parameters,
            span: written.span,
        })
    }

    /// The trials: every combination, the last parameter running fastest, or as many as `wanted` at random.
    pub(crate) fn trials(&self, wanted: Option<u64>, seed: u64) -> Result<Vec<Assignment>, Box<Diagnostic>> {
        let too_many = |count: String| {
            let message = format!("{count} trials are more than the {MAX_TRIALS} that a sweep may have");
            let diagnostic = Diagnostic::error(Code::OutOfRange, message).at(self.span);
            Box::new(diagnostic.help("try fewer values, or draw some combinations with `trials:`"))
        };
        let sizes = self.parameters.iter().map(|(_, choices)| match choices {
            ParameterValues::List(values) => Some(values.len()),
            ParameterValues::Range { .. } => None,
        });
        let sizes: Option<Vec<usize>> = sizes.collect();
        let all = sizes
            .as_ref()
            .map(|sizes| sizes.iter().fold(1_usize, |all, size| all.saturating_mul(*size)));
        match (wanted, all) {
            (None, Some(all)) if all > MAX_TRIALS => Err(too_many(all.to_string())),
            (None, Some(all)) => Ok((0..all).map(|number| self.combination(number)).collect()),
            (None, None) => {
                let message = "a sweep over a range needs `trials`";
                let diagnostic = Diagnostic::error(Code::MissingKey, message).at(self.span);
                Err(Box::new(diagnostic.help("say how many are drawn: `trials: 20`")))
            }
            (Some(wanted), _) if wanted > MAX_TRIALS as u64 => Err(too_many(wanted.to_string())),
            (Some(wanted), Some(all)) if wanted >= all as u64 => Ok((0..all).map(|n| self.combination(n)).collect()),
            (Some(wanted), _) => Ok(self.drawn(usize::try_from(wanted).unwrap_or(MAX_TRIALS), seed)),
        }
    }

    /// The combination at an index of the grid.
    fn combination(&self, mut number: usize) -> Assignment {
        let mut trial: Assignment = Vec::new();
        for (key, choices) in self.parameters.iter().rev() {
            if let ParameterValues::List(values) = choices {
                trial.push((key.clone(), values[number % values.len()].clone()));
                number /= values.len();
            }
        }
        trial.reverse();
        trial
    }

    /// Distinct combinations drawn at random. A parameter's values do not depend on the other parameters of the sweep.
    fn drawn(&self, wanted: usize, seed: u64) -> Vec<Assignment> {
        let mut trials = Vec::new();
        let mut known = HashSet::new();
        for draw in 0..wanted.saturating_mul(MAX_REDRAWS) {
            if trials.len() == wanted {
                break;
            }
            let assign = |(key, choices): &(Key, ParameterValues)| {
                let value = choices.at(uniform(&format!("{seed}/{draw}/{}", key.value)));
                (key.clone(), value)
            };
            let trial: Assignment = self.parameters.iter().map(assign).collect();
            let text: Vec<String> = trial.iter().map(|(_, value)| value.to_json().to_string()).collect();
            if known.insert(text.join(" ")) {
                trials.push(trial);
            }
        }
        trials
    }
}

impl ParameterValues {
    /// The value at a quantile in [0, 1).
    fn at(&self, point: f64) -> Value {
        match self {
            ParameterValues::List(values) => {
                values[((point * values.len() as f64) as usize).min(values.len() - 1)].clone()
            }
            &ParameterValues::Range {
                min,
                max,
                log,
                integer,
                span,
            } => {
                // Each whole number has the same room, the greatest too.
                let room = if integer { 1.0 } else { 0.0 };
                let value = if log {
                    min * ((max + room) / min).powf(point)
                } else {
                    min + (max + room - min) * point
                };
                let kind = if integer {
                    ValueKind::Int(value.floor().clamp(min, max) as i64)
                } else {
                    ValueKind::Float(round_to_digits(value).clamp(min, max))
                };
                Value { kind, span }
            }
        }
    }
}

/// A uniform number in [0, 1) that is a hash of a text.
fn uniform(text: &str) -> f64 {
    let hash = blake3::hash(text.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    (u64::from_le_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}

fn round_to_digits(value: f64) -> f64 {
    if value == 0.0 {
        return value;
    }
    let scale = 10_f64.powi(DIGITS - 1 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

fn choices(value: &Value) -> Result<ParameterValues, Box<Diagnostic>> {
    match &value.kind {
        ValueKind::Sequence(values) if !values.is_empty() => Ok(ParameterValues::List(values.clone())),
        ValueKind::Mapping(mapping) => range(mapping, value.span),
        _ => {
            let expected = "the values of a swept parameter must be a list, or a range `{ min: 1, max: 9 }`";
            Err(Box::new(wrong_type(expected, value)))
        }
    }
}

fn range(mapping: &Mapping, span: Span) -> Result<ParameterValues, Box<Diagnostic>> {
    let known = ["min", "max", "scale"];
    if let Some((key, _)) = mapping
        .entries
        .iter()
        .find(|(key, _)| !known.contains(&key.value.as_str()))
    {
        return Err(Box::new(unknown_key(key, "a range", &known)));
    }
    let bound = |key: &str| match mapping.get(key) {
        None => Err(Box::new(
            Diagnostic::error(Code::MissingKey, format!("the range has no `{key}`")).at(span),
        )),
        Some(value) => match value.kind {
            ValueKind::Int(number) => Ok((number as f64, true)),
            ValueKind::Float(number) if number.is_finite() => Ok((number, false)),
            _ => Err(Box::new(wrong_type(&format!("`{key}` must be a number"), value))),
        },
    };
    let ((min, integer), (max, also_integer)) = (bound("min")?, bound("max")?);
    let wrong = |message: &str| Box::new(Diagnostic::error(Code::OutOfRange, message).at(span));
    let log = match mapping.get("scale") {
        None => false,
        Some(scale) => match scale.as_str() {
            Some("linear") => false,
            Some("log") => true,
            _ => {
                let message = "`scale` must be `linear` or `log`";
                return Err(Box::new(Diagnostic::error(Code::OutOfRange, message).at(scale.span)));
            }
        },
    };
    if min >= max {
        return Err(wrong("`min` must be less than `max`"));
    }
    if log && min <= 0.0 {
        return Err(wrong("a range on a log scale must begin above 0"));
    }
    Ok(ParameterValues::Range {
        min,
        max,
        log,
        integer: integer && also_integer,
        span,
    })
}

/// The whole number that stands under a key of a sweep.
pub(crate) fn integer(parser: &mut NodeParser<'_>, key: &str, value: &Value) -> Option<u64> {
    let number = match value.kind {
        ValueKind::Int(number) => u64::try_from(number).ok(),
        ValueKind::UInt(number) => Some(number),
        _ => {
            parser.wrong_type(&format!("`{key}` must be a whole number"), value);
            return None;
        }
    };
    let min = u64::from(key == "trials");
    if number.is_none_or(|number| number < min) {
        let message = format!("`{key}` must be {min} or more");
        parser.report(Diagnostic::error(Code::OutOfRange, message).at(value.span));
        return None;
    }
    number
}

/// Sets the parameter at the end of a path of keys with dots between them.
pub(crate) fn set(config: &mut Value, path: &Key, value: Value) {
    let (first, rest) = match path.value.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path.value.as_str(), None),
    };
    let span = path.span;
    let ValueKind::Mapping(mapping) = &mut config.kind else {
        // A parameter that is no mapping has none inside: the operator says what is wrong with it.
        *config = Value::empty_mapping(span);
        return set(config, path, value);
    };
    let at = mapping
        .entries
        .iter()
        .position(|(key, _)| key.value == first)
        .unwrap_or_else(|| {
            mapping
                .entries
                .push((Key::new(first.to_owned(), span), Value::empty_mapping(span)));
            mapping.entries.len() - 1
        });
    let (key, slot) = &mut mapping.entries[at];
    match rest {
        Some(rest) => set(slot, &Key::new(rest.to_owned(), span), value),
        None => {
            key.span = span;
            *slot = value;
        }
    }
}

/// The parameter at the end of a path, if the node itself gives it; what comes out of `defaults` may be swept.
fn own_parameter<'a>(config: &'a Mapping, path: &str) -> Option<(&'a Key, &'a Value)> {
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let (key, value) = config.entry(first)?;
    match (rest, value.as_mapping()) {
        (Some(rest), Some(inner)) => own_parameter(inner, rest),
        _ => Some((key, value)),
    }
}
