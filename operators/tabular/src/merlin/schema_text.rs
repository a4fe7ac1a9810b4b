//! Merlin's schema in protobuf text format: `schema.pbtxt`.

use serde_json::Value;

use crate::merlin::feature::{Feature, MerlinType};
use crate::merlin::metadata;
use towline_api::{OperatorError, Result};

/// Writes the schema in Merlin's format.
pub(crate) fn write(features: &[Feature]) -> String {
    let mut out = String::new();
    for feature in features {
        out.push_str(&format!("feature {{\n  name: {}\n", quoted(feature.name.as_bytes())));
        if let Some((min, max)) = feature.value_count {
            let max = if max > 0 {
                format!("    max: {max}\n")
            } else {
                String::new()
            };
            out.push_str(&format!("  value_count {{\n    min: {min}\n{max}  }}\n"));
        }
        out.push_str(&format!("  type: {}\n", feature.kind.word()));
        if let Some((name, max)) = &feature.domain {
            let name = quoted(name.as_bytes());
            out.push_str(&format!(
                "  int_domain {{\n    name: {name}\n    max: {max}\n    is_categorical: true\n  }}\n"
            ));
        }
        out.push_str("  annotation {\n");
        for tag in &feature.tags {
            out.push_str(&format!("    tag: {}\n", quoted(tag.as_bytes())));
        }
        if feature.metadata != Value::Null {
            let value = quoted(&metadata::encoded(&feature.metadata));
            out.push_str("    extra_metadata {\n      type_url: \"type.googleapis.com/google.protobuf.Struct\"\n");
            out.push_str(&format!("      value: {value}\n    }}\n"));
        }
        out.push_str("  }\n}\n");
    }
    out
}

/// A quoted protobuf string; bytes other than printable ASCII as octal escapes.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            b'\n' => out.push_str("\\n"),
            0x20..0x7f => out.push(char::from(*byte)),
            other => out.push_str(&format!("\\{other:03o}")),
        }
    }
    out.push('"');
    out
}

/// A field of a message: its name, and its scalar value or nested fields.
struct MessageField {
    name: String,
    value: FieldValue,
}

enum FieldValue {
    Text(Vec<u8>),
    Fields(Vec<MessageField>),
}

fn fields<'a>(of: &'a [MessageField], name: &str) -> Vec<&'a [MessageField]> {
    let nested = |field: &'a MessageField| match &field.value {
        FieldValue::Fields(fields) if field.name == name => Some(fields.as_slice()),
        _ => None,
    };
    of.iter().filter_map(nested).collect()
}

fn texts(of: &[MessageField], name: &str) -> Vec<String> {
    let text = |field: &MessageField| match &field.value {
        FieldValue::Text(text) if field.name == name => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    };
    of.iter().filter_map(text).collect()
}

/// Parses the text format; NVTabular's additions are ignored.
pub(crate) fn read(text: &str, place: &str) -> Result<Vec<Feature>> {
    let mut reader = TextParser {
        rest: text.as_bytes(),
        line: 1,
        place,
    };
    let schema = reader.message(0)?;
    let number =
        |fields: &[MessageField], name: &str| texts(fields, name).first().and_then(|text| text.parse::<u64>().ok());
    let feature = |fields_of: &[MessageField]| {
        let wrong = |what: String| OperatorError::invalid(format!("{place}: not a schema of Merlin: {what}"));
        let one = |name: &str| texts(fields_of, name).into_iter().next();
        let name = one("name").ok_or_else(|| wrong("a feature has no name".to_owned()))?;
        let kind = one("type").and_then(|word| MerlinType::of_word(&word));
        let kind = kind.ok_or_else(|| wrong(format!("`{name}` has no known type")))?;
        let domain = fields(fields_of, "int_domain").first().and_then(|domain| {
            let own = texts(domain, "name").into_iter().next().unwrap_or_else(|| name.clone());
            let categorical = texts(domain, "is_categorical")
                .first()
                .is_some_and(|flag| flag == "true");
            Some((own, number(domain, "max")?)).filter(|_| categorical)
        });
        let count = fields(fields_of, "value_count");
        let count = count
            .first()
            .map(|count| (number(count, "min").unwrap_or(0), number(count, "max").unwrap_or(0)));
        let tags = fields(fields_of, "annotation")
            .into_iter()
            .flat_map(|annotation| texts(annotation, "tag"));
        Ok(Feature {
            tags: tags.collect(),
            name,
            kind,
            domain,
            value_count: count,
            metadata: Value::Null,
        })
    };
    fields(&schema, "feature").into_iter().map(feature).collect()
}

/// Maximum nesting depth; a schema needs five levels.
const DEEPEST: usize = 32;

struct TextParser<'a> {
    rest: &'a [u8],
    line: usize,
    place: &'a str,
}

impl TextParser<'_> {
    /// Parses fields up to the end of the text or of the message.
    fn message(&mut self, depth: usize) -> Result<Vec<MessageField>> {
        let mut out = Vec::new();
        loop {
            self.space();
            match self.rest.first() {
                None if depth == 0 => return Ok(out),
                Some(b'}') if depth > 0 => {
                    self.rest = &self.rest[1..];
                    return Ok(out);
                }
                Some(_) => out.push(self.field(depth)?),
                None => return Err(self.wrong("a message is not closed")),
            }
        }
    }

    fn field(&mut self, depth: usize) -> Result<MessageField> {
        let name = self.word();
        if name.is_empty() {
            return Err(self.wrong("a field has no name"));
        }
        self.space();
        let colon = self.rest.first() == Some(&b':');
        if colon {
            self.rest = &self.rest[1..];
            self.space();
        }
        let value = match self.rest.first() {
            Some(b'{') if depth < DEEPEST => {
                self.rest = &self.rest[1..];
                FieldValue::Fields(self.message(depth + 1)?)
            }
            Some(b'{') => return Err(self.wrong("messages are nested too deeply")),
            Some(b'"') if colon => FieldValue::Text(self.string()?),
            Some(_) if colon => FieldValue::Text(self.word().into_bytes()),
            _ => return Err(self.wrong(&format!("`{name}` has no value"))),
        };
        Ok(MessageField { name, value })
    }

    fn space(&mut self) {
        while let Some(byte) = self.rest.first() {
            match byte {
                b'#' => {
                    let end = self
                        .rest
                        .iter()
                        .position(|byte| *byte == b'\n')
                        .unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                b'\n' => {
                    self.line += 1;
                    self.rest = &self.rest[1..];
                }
                b' ' | b'\t' | b'\r' | b',' | b';' => self.rest = &self.rest[1..],
                _ => return,
            }
        }
    }

    fn word(&mut self) -> String {
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'.');
        let end = self.rest.iter().position(|byte| !part(byte)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        String::from_utf8_lossy(word).into_owned()
    }

    fn string(&mut self) -> Result<Vec<u8>> {
        self.rest = &self.rest[1..];
        let mut out = Vec::new();
        while let Some((byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            match byte {
                b'"' => return Ok(out),
                b'\\' => {
                    let octal = self
                        .rest
                        .iter()
                        .take(3)
                        .take_while(|byte| matches!(byte, b'0'..=b'7'))
                        .count();
                    if octal > 0 {
                        let value = self.rest[..octal]
                            .iter()
                            .fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                        out.push(value as u8);
                        self.rest = &self.rest[octal..];
                    } else if let Some((escaped, rest)) = self.rest.split_first() {
                        self.rest = rest;
                        out.push(match escaped {
                            b'n' => b'\n',
                            b'r' => b'\r',
                            b't' => b'\t',
                            other => *other,
                        });
                    }
                }
                other => out.push(*other),
            }
        }
        Err(self.wrong("a string is not closed"))
    }

    fn wrong(&self, what: &str) -> OperatorError {
        OperatorError::invalid(format!("{}, line {}: {what}", self.place, self.line))
    }
}
