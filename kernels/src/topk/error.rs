//! What can be wrong with vectors.

use std::fmt;

/// Why no result can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopKError {
    /// The width is zero, or the number of values is no multiple of it, or there are more items than 32 bits can count.
    Shape {
        /// Values.
        values: usize,
        /// The width.
        dim: usize,
    },
    /// An item's vector holds NaN or an infinity.
    Item(usize),
    /// A query's vector holds NaN or an infinity.
    Query(usize),
    /// The score of an item is not a number: terms beyond the range of `f32` have cancelled.
    Score {
        /// The query.
        query: usize,
        /// The item.
        item: usize,
    },
    /// The caller asked to stop.
    Stopped,
}

impl fmt::Display for TopKError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopKError::Shape { values, dim } => write!(f, "{values} values are no table of vectors of width {dim}"),
            TopKError::Item(row) => write!(f, "the vector of item {row} is not finite"),
            TopKError::Query(row) => write!(f, "the vector of query {row} is not finite"),
            TopKError::Score { query, item } => write!(
                f,
                "the score of item {item} for query {query} is not a number: the vectors are too long"
            ),
            TopKError::Stopped => write!(f, "stopped"),
        }
    }
}

impl std::error::Error for TopKError {}
