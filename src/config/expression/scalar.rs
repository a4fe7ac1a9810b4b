//! Scalar values of facts and expressions.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A single value.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// A number, in double precision.
    Number(f64),
    /// A text; dates and moments are texts in ISO 8601, in UTC.
    Text(String),
    /// Undefined: the minimum of no values, a division by zero, NaN.
    Missing,
}

impl Scalar {
    /// The number, or nothing if it is none.
    pub fn of(number: f64) -> Self {
        if number.is_nan() {
            Scalar::Missing
        } else {
            Scalar::Number(number)
        }
    }
}

/// A number in the shortest text that reads back as the same number.
pub(crate) fn number(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        format!("{number:.0}")
    } else {
        format!("{number:?}")
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Number(value) => f.write_str(&number(*value)),
            Scalar::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Scalar::Missing => f.write_str("undefined"),
        }
    }
}

/// In JSON a number is written as a text such as `0.25` or `inf`, so that it reads back to the bit; a text stands in an
/// object.
impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self {
            Scalar::Number(value) => Value::String(number(*value)),
            Scalar::Text(text) => Value::Object(Map::from_iter([("text".to_owned(), Value::String(text.clone()))])),
            Scalar::Missing => Value::Null,
        };
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Scalar::Missing),
            Value::String(text) => text.parse().map(Scalar::Number).map_err(D::Error::custom),
            Value::Object(map) => match map.get("text") {
                Some(Value::String(text)) => Ok(Scalar::Text(text.clone())),
                _ => Err(D::Error::custom("a text was expected")),
            },
            other => Err(D::Error::custom(format!("`{other}` is not a value"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_to_the_bit() {
        let values = [
            Scalar::Number(0.1 + 0.2),
            Scalar::Number(f64::INFINITY),
            Scalar::Number(1e300),
            Scalar::Text("it's".to_owned()),
            Scalar::Missing,
        ];
        for value in values {
            let json = serde_json::to_string(&value).expect("it is written");
            assert_eq!(
                serde_json::from_str::<Scalar>(&json).expect("it is read"),
                value,
                "{json}"
            );
        }
    }
}
