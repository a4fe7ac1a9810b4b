//! What a condition needs to know of a node's output.

use std::fmt;

use crate::config::expression::quoted;

/// A single thing to know of a node's output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// A number that the operator left behind.
    Metric(String),
    /// The number of records that a sink wrote.
    Records,
    /// The number of rows of a split, or of all splits together.
    Rows {
        /// The split.
        split: Option<String>,
    },
    /// Something about a column in a split, or in all splits together.
    Column {
        /// What of it.
        measure: Measure,
        /// The split.
        split: Option<String>,
        /// The column.
        column: String,
    },
}

/// What can be known of a column. NaN counts as null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// How many rows have a value.
    Values,
    /// How many rows have none.
    Nulls,
    /// The part of the rows that has none; 0 where there are no rows.
    NullShare,
    /// How many different values there are.
    Distinct,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The mean of the values; of a column of truths, the part that is true.
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
    /// Whether the rows must be looked at to know it.
    pub fn is_of_rows(&self) -> bool {
        matches!(self, Fact::Rows { .. } | Fact::Column { .. })
    }
}

/// The fact as an expression has it.
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
