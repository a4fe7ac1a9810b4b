//! Declared schemas of sources.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};

use towline_api::{Code, Column, Problem, Schema};

/// The Arrow type with the name `word`.
pub(crate) fn data_type(word: &str) -> Option<DataType> {
    Some(match word {
        "int64" => DataType::Int64,
        "int32" => DataType::Int32,
        "float64" => DataType::Float64,
        "float32" => DataType::Float32,
        "string" => DataType::Utf8,
        "bool" => DataType::Boolean,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        other => return other.parse().ok(),
    })
}

/// Problems for unknown type names.
pub(crate) fn check(schema: Option<&BTreeMap<String, String>>) -> Vec<Problem> {
    let wrong = schema
        .into_iter()
        .flatten()
        .filter(|(_, word)| data_type(word).is_none());
    wrong
        .map(|(column, word)| {
            let message = format!("`{word}`, declared for column `{column}`, is not a type");
            let help = "the types are `int64`, `float64`, `string`, `bool`, `date`, `timestamp` and Arrow's own";
            Problem::new(Code::BadConfig, message).at("schema").help(help)
        })
        .collect()
}

/// The declared columns, by name, for validation without files.
pub(crate) fn only(schema: Option<&BTreeMap<String, String>>) -> Result<Schema, Vec<Problem>> {
    let Some(schema) = schema else {
        let message = "the source does not declare its columns, and --offline does not read files";
        let help = "declare them with `schema: { column: type }`, or validate without --offline";
        return Err(vec![Problem::new(Code::BadSource, message).help(help)]);
    };
    let columns = schema
        .iter()
        .filter_map(|(name, word)| Some(Column::new(name, data_type(word)?, true)))
        .collect();
    Ok(Schema { columns })
}
