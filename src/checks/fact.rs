//! Facts about a node's output.

use std::fmt;

use crate::config::expression::quoted;

/// A fact about a node's output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// A metric of the operator.
    Metric(String),
    /// The number of records that a sink wrote.
    Records,
    /// The number of rows of a split, or of all splits together.
    Rows {
        /// The split.
        split: Option<String>,
    },
    /// A measure of a column in a split, or in all splits together.
    Column {
        /// The measure.
        measure: Measure,
        /// The split.
        split: Option<String>,
        /// The column.
        column: String,
    },
}

/// Measures of a column. NaN counts as null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// The number of rows with a value.
    Values,
    /// The number of nulls.
    Nulls,
    /// The fraction of nulls; 0 where there are no rows.
    NullShare,
    /// The number of distinct values.
    Distinct,
    /// The minimum.
    Min,
    /// The maximum.
    Max,
    /// The mean; of a boolean column, the fraction that is true.
    Mean,
}

impl Measure {
    /// Every measure there is, in the order of the documentation.
    pub const ALL: [Measure; 7] = [
        Measure::Min,
        Measure::Max,
        Measure::Mean,
        Measure::Distinct,
        Measure::Nulls,
        Measure::NullShare,
        Measure::Values,
    ];

    /// The function that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Values => "values",
            Measure::Nulls => "nulls",
            Measure::NullShare => "null_share",
            Measure::Distinct => "distinct",
            Measure::Min => "min",
            Measure::Max => "max",
            Measure::Mean => "mean",
        }
    }
}

impl Fact {
    /// Whether it has to be computed from the rows.
    pub fn is_of_rows(&self) -> bool {
        matches!(self, Fact::Rows { .. } | Fact::Column { .. })
    }
}

/// The fact in the syntax of expressions.
impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = |split: &Option<String>| {
            split
                .as_ref()
                .map_or_else(String::new, |split| format!("{}.", quoted(split)))
        };
        match self {
            Fact::Metric(name) => {
                let words: Vec<String> = name.split('.').map(quoted).collect();
                f.write_str(&words.join("."))
            }
            Fact::Records => f.write_str("records"),
            Fact::Rows { split } => write!(f, "{}rows", within(split)),
            Fact::Column { measure, split, column } => {
                write!(f, "{}({}{})", measure.as_str(), within(split), quoted(column))
            }
        }
    }
}
