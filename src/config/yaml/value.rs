//! The YAML tree, in which every value has its span.

use towline_api::PathSegment;

use crate::config::yaml::{SourceMap, Span, Spanned};

/// A value with its span.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The value.
    pub kind: ValueKind,
    /// The span of the value.
    pub span: Span,
}

/// The kinds of YAML values.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueKind {
    /// Null: `null`, `~` or an empty value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer in the range of `i64`.
    Int(i64),
    /// An integer above the range of `i64`.
    UInt(u64),
    /// A number with a fraction or an exponent, an infinity, or not a number.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    Sequence(Vec<Value>),
    /// Keys with values, in the order in which they are written.
    Mapping(Mapping),
}

/// The key of a mapping: text, and where it is written.
pub type Key = Spanned<String>;

/// Keys with values, in the order in which they are written; each key occurs once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapping {
    /// The entries in order.
    pub entries: Vec<(Key, Value)>,
}

impl Mapping {
    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|(_, value)| value)
    }

    /// The key as written, and its value.
    pub fn entry(&self, key: &str) -> Option<(&Key, &Value)> {
        self.entries
            .iter()
            .find(|(candidate, _)| candidate.value == key)
            .map(|(key, value)| (key, value))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.value.as_str())
    }
}

impl Value {
    /// A mapping without entries.
    pub fn empty_mapping(span: Span) -> Self {
        Self {
            kind: ValueKind::Mapping(Mapping::default()),
            span,
        }
    }

    /// The text, if the value is text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The entries, if the value is a mapping.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.kind {
            ValueKind::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The items, if the value is a sequence.
    pub fn as_sequence(&self) -> Option<&[Self]> {
        match &self.kind {
            ValueKind::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The name of its type in a diagnostic: `a string`, `an integer`.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            ValueKind::Null => "null",
            ValueKind::Bool(_) => "a boolean",
            ValueKind::Int(_) | ValueKind::UInt(_) => "an integer",
            ValueKind::Float(_) => "a number",
            ValueKind::String(_) => "a string",
            ValueKind::Sequence(_) => "a list",
            ValueKind::Mapping(_) => "a mapping",
        }
    }

    /// The same value as JSON. JSON has no infinities and no NaN: they become the strings that YAML writes for them.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.kind {
            ValueKind::Null => Json::Null,
            ValueKind::Bool(value) => Json::Bool(*value),
            ValueKind::Int(value) => Json::from(*value),
            ValueKind::UInt(value) => Json::from(*value),
            ValueKind::Float(value) => {
                serde_json::Number::from_f64(*value).map_or_else(|| Json::from(non_finite(*value)), Json::Number)
            }
            ValueKind::String(text) => Json::from(text.as_str()),
            ValueKind::Sequence(items) => items.iter().map(Self::to_json).collect(),
            ValueKind::Mapping(mapping) => Json::Object(
                mapping
                    .entries
                    .iter()
                    .map(|(key, value)| (key.value.clone(), value.to_json()))
                    .collect(),
            ),
        }
    }

    /// A value like this JSON, all of it at one place. A number that is no whole one of 64 bits becomes a fraction.
    pub(crate) fn from_json(json: &serde_json::Value, span: Span) -> Self {
        use serde_json::Value as Json;
        let kind = match json {
            Json::Null => ValueKind::Null,
            Json::Bool(value) => ValueKind::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => ValueKind::Int(value),
                (None, Some(value)) => ValueKind::UInt(value),
                (None, None) => ValueKind::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => ValueKind::String(text.clone()),
            Json::Array(items) => ValueKind::Sequence(items.iter().map(|item| Self::from_json(item, span)).collect()),
            Json::Object(map) => {
                let entry =
                    |(key, value): (&String, &Json)| (Key::new(key.clone(), span), Self::from_json(value, span));
                ValueKind::Mapping(Mapping {
                    entries: map.iter().map(entry).collect(),
                })
            }
        };
        Self { kind, span }
    }

    /// A scalar as it stands inside a longer string; nothing for null, lists and mappings.
    pub fn to_text(&self) -> Option<String> {
        match &self.kind {
            ValueKind::String(text) => Some(text.clone()),
            ValueKind::Float(value) if !value.is_finite() => Some(non_finite(*value).to_owned()),
            ValueKind::Bool(_) | ValueKind::Int(_) | ValueKind::UInt(_) | ValueKind::Float(_) => {
                Some(self.to_json().to_string())
            }
            ValueKind::Null | ValueKind::Sequence(_) | ValueKind::Mapping(_) => None,
        }
    }

    /// The span of the value at a path, or of its nearest ancestor that exists.
    pub fn locate(&self, path: &[PathSegment]) -> Span {
        self.walk(path).0.span
    }

    /// The place of the key that leads to the end of a path; where the path doesn't end at a key, what
    /// [`locate`](Self::locate) gives.
    pub fn locate_key(&self, path: &[PathSegment]) -> Span {
        let (value, key) = self.walk(path);
        key.unwrap_or(value.span)
    }

    /// The place of a range of bytes of the text at the end of a path; where that is no text, or its bytes do not stand in
    /// the file as they are, what [`locate`](Self::locate) gives.
    pub fn locate_text(&self, sources: &SourceMap, path: &[PathSegment], range: std::ops::Range<usize>) -> Span {
        let (value, _) = self.walk(path);
        match &value.kind {
            ValueKind::String(text) => sources.span_map(value.span, text).range(range),
            _ => value.span,
        }
    }

    /// Follows a path as far as it exists: the last value, and the place of its key if the whole path exists and ends
    /// at one.
    fn walk(&self, path: &[PathSegment]) -> (&Self, Option<Span>) {
        let mut value = self;
        let mut last_key = None;
        for segment in path {
            let next = match (segment, &value.kind) {
                (PathSegment::Key(key), ValueKind::Mapping(mapping)) => {
                    mapping.entry(key).map(|(key, next)| (next, Some(key.span)))
                }
                (PathSegment::Index(index), ValueKind::Sequence(items)) => items.get(*index).map(|next| (next, None)),
                _ => None,
            };
            match next {
                Some((next, key)) => (value, last_key) = (next, key),
                None => return (value, None),
            }
        }
        (value, last_key)
    }

    /// The size of the value, in the unit of [`MAX_EXPANSION`](crate::config::yaml::MAX_EXPANSION).
    pub(crate) fn weight(&self) -> usize {
        match &self.kind {
            ValueKind::String(text) => text_weight(text),
            ValueKind::Sequence(items) => 1 + items.iter().map(Self::weight).sum::<usize>(),
            ValueKind::Mapping(mapping) => {
                let entries = mapping.entries.iter();
                1 + entries
                    .map(|(key, value)| text_weight(&key.value) + value.weight())
                    .sum::<usize>()
            }
            _ => 1,
        }
    }

    /// The nesting depth of collections, this one included.
    pub(crate) fn depth(&self) -> usize {
        match &self.kind {
            ValueKind::Sequence(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            ValueKind::Mapping(mapping) => {
                1 + mapping
                    .entries
                    .iter()
                    .map(|(_, value)| value.depth())
                    .max()
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }
}

/// A long text counts as several nodes: a limit on the number of nodes alone would not limit memory.
fn text_weight(text: &str) -> usize {
    1 + text.len() / 256
}

fn non_finite(value: f64) -> &'static str {
    if value.is_nan() {
        ".nan"
    } else if value > 0.0 {
        ".inf"
    } else {
        "-.inf"
    }
}
