//! The tree: values that know where they stand.

use towline_operators::contract::PathSegment;

use super::source_map::Span;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// What it is.
    pub kind: ValueKind,
    /// Where it stands.
    pub span: Span,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueKind {
    /// `null`, `~`, or nothing at all.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or an exponent, or a whole number beyond 64 bits.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    Sequence(Vec<Value>),
    /// Keys and values, in the order of the file.
    Mapping(Mapping),
}

/// A key and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// Keys and values, in the order of the file; keys are unique.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapping(pub Vec<(Key, Value)>);

impl Mapping {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Key and value under `key`.
    pub fn entry(&self, key: &str) -> Option<&(Key, Value)> {
        self.0.iter().find(|(k, _)| k.text == key)
    }

    /// The keys, in order.
    pub fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(key, _)| key.text.as_str()).collect()
    }
}

impl Value {
    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        if let ValueKind::String(text) = &self.kind {
            Some(text)
        } else {
            None
        }
    }

    /// The mapping, if it is one.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        if let ValueKind::Mapping(mapping) = &self.kind {
            Some(mapping)
        } else {
            None
        }
    }

    /// The list, if it is one.
    pub fn as_sequence(&self) -> Option<&[Value]> {
        if let ValueKind::Sequence(items) = &self.kind {
            Some(items)
        } else {
            None
        }
    }

    /// What it is, for messages: `a list`, `the text`.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            ValueKind::Null => "nothing",
            ValueKind::Bool(_) => "true or false",
            ValueKind::Int(_) | ValueKind::Float(_) => "a number",
            ValueKind::String(_) => "a text",
            ValueKind::Sequence(_) => "a list",
            ValueKind::Mapping(_) => "a mapping",
        }
    }

    /// The value without its places. A number that JSON cannot hold (`.inf`) becomes null.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.kind {
            ValueKind::Null => Json::Null,
            ValueKind::Bool(flag) => Json::Bool(*flag),
            ValueKind::Int(number) => Json::from(*number),
            ValueKind::Float(number) => Json::from(*number),
            ValueKind::String(text) => Json::String(text.clone()),
            ValueKind::Sequence(items) => Json::Array(items.iter().map(Value::to_json).collect()),
            ValueKind::Mapping(mapping) => Json::Object(
                mapping
                    .0
                    .iter()
                    .map(|(key, value)| (key.text.clone(), value.to_json()))
                    .collect(),
            ),
        }
    }

    /// The place of the value at `path`, or of the nearest value above it that exists; with `key`, the place of the
    /// last key instead of its value.
    pub fn locate(&self, path: &[PathSegment], key: bool) -> Span {
        let mut value = self;
        let mut span = self.span;
        for segment in path {
            let next = match (segment, &value.kind) {
                (PathSegment::Key(name), ValueKind::Mapping(mapping)) => {
                    mapping.entry(name).map(|(k, v)| (v, if key { k.span } else { v.span }))
                }
                (PathSegment::Index(index), ValueKind::Sequence(items)) => items.get(*index).map(|v| (v, v.span)),
                _ => None,
            };
            let Some((inner, place)) = next else { return span };
            value = inner;
            span = place;
        }
        span
    }
}
