//! Types of expressions, and the measures that columns of each Arrow type have.

use arrow::datatypes::DataType;

use crate::checks::fact::Measure;

/// The type of a part of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Number,
    Text,
    Boolean,
}

impl Type {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Type::Number => "a number",
            Type::Text => "a string",
            Type::Boolean => "true or false",
        }
    }
}

/// A class of Arrow types with the same measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueClass {
    Number,
    Boolean,
    Text,
    Time,
    Nested,
    Other,
}

impl ValueClass {
    /// The class of an Arrow type.
    pub(crate) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Dictionary(_, values) => ValueClass::of(values),
            DataType::Boolean => ValueClass::Boolean,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ValueClass::Text,
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => ValueClass::Time,
            other if other.is_numeric() => ValueClass::Number,
            other if other.is_nested() => ValueClass::Nested,
            _ => ValueClass::Other,
        }
    }
}

/// The type of a measure of a column of this type, if it has that measure.
pub(crate) fn result_type(measure: Measure, data_type: &DataType) -> Option<Type> {
    let values = ValueClass::of(data_type);
    match measure {
        Measure::Values | Measure::Nulls | Measure::NullShare => Some(Type::Number),
        Measure::Distinct => (values != ValueClass::Nested).then_some(Type::Number),
        Measure::Mean => matches!(values, ValueClass::Number | ValueClass::Boolean).then_some(Type::Number),
        Measure::Min | Measure::Max => match values {
            ValueClass::Number => Some(Type::Number),
            ValueClass::Text | ValueClass::Time => Some(Type::Text),
            ValueClass::Boolean | ValueClass::Nested | ValueClass::Other => None,
        },
    }
}
