//! What the parts of an expression come to, and which measures a column of which Arrow type has.

use arrow::datatypes::DataType;

use crate::checks::fact::Measure;

/// What a part of an expression comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Number,
    Text,
    Truth,
}

impl Type {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Type::Number => "a number",
            Type::Text => "a text",
            Type::Truth => "true or false",
        }
    }
}

/// What the values of a column are, as far as measures need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    Number,
    Truth,
    Text,
    Time,
    Nested,
    Other,
}

impl Values {
    /// What a column of this type has.
    pub(crate) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Dictionary(_, values) => Values::of(values),
            DataType::Boolean => Values::Truth,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Values::Text,
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Values::Time,
            other if other.is_numeric() => Values::Number,
            other if other.is_nested() => Values::Nested,
            _ => Values::Other,
        }
    }
}

/// What a measure of a column of this type comes to, if it makes sense.
pub(crate) fn measured(measure: Measure, data_type: &DataType) -> Option<Type> {
    let values = Values::of(data_type);
    match measure {
        Measure::Values | Measure::Nulls | Measure::NullShare => Some(Type::Number),
        Measure::Distinct => (values != Values::Nested).then_some(Type::Number),
        Measure::Mean => matches!(values, Values::Number | Values::Truth).then_some(Type::Number),
        Measure::Min | Measure::Max => match values {
            Values::Number => Some(Type::Number),
            Values::Text | Values::Time => Some(Type::Text),
            Values::Truth | Values::Nested | Values::Other => None,
        },
    }
}
