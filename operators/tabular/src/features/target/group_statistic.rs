//! The statistics of a group of rows.

use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A group statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stat {
    /// Number of values.
    Count,
    /// Sum.
    Sum,
    /// Arithmetic mean.
    Mean,
    /// Sample standard deviation.
    Std,
    /// Sample variance.
    Var,
    /// Minimum.
    Min,
    /// Maximum.
    Max,
    /// Number of distinct values.
    Nunique,
}

impl Stat {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Stat::Count => "count",
            Stat::Sum => "sum",
            Stat::Mean => "mean",
            Stat::Std => "std",
            Stat::Var => "var",
            Stat::Min => "min",
            Stat::Max => "max",
            Stat::Nunique => "nunique",
        }
    }

    pub(crate) fn counts(self) -> bool {
        matches!(self, Stat::Count | Stat::Nunique)
    }

    pub(crate) fn data_type(self, of: &DataType) -> DataType {
        match self {
            Stat::Count | Stat::Nunique => DataType::Int64,
            Stat::Sum | Stat::Min | Stat::Max if *of == DataType::UInt64 => DataType::UInt64,
            Stat::Sum | Stat::Min | Stat::Max if of.is_integer() => DataType::Int64,
            _ => DataType::Float64,
        }
    }
}
