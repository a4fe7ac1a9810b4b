//! Row operators: filter, join, group, split.

pub(crate) mod concat;
pub(crate) mod data_stats;
pub(crate) mod dedup;
pub(crate) mod difference;
pub(crate) mod drop_nulls;
pub(crate) mod filter;
pub(crate) mod group_by;
pub(crate) mod join;
pub(crate) mod list_explode;
pub(crate) mod memory_limit;
pub(crate) mod per_split;
pub mod query;
pub(crate) mod rename;
pub(crate) mod row_numbers;
pub mod sampling;
pub(crate) mod select;
pub mod sequence;
pub(crate) mod task_rows;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod unique_rows;

pub use concat::Concat;
pub use data_stats::DataStats;
pub use dedup::{Dedup, Keep};
pub use drop_nulls::DropNulls;
pub use filter::Filter;
pub use group_by::GroupBy;
pub use join::{Duplicates, How, Join};
pub use list_explode::ListExplode;
pub use rename::Rename;
pub use select::Select;
pub use unique_rows::{Side, UniqueRows};
