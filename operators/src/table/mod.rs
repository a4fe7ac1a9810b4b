//! Operators that make tables out of tables.

mod command;
mod concat;
mod data_stats;
mod dedup;
mod drop_nulls;
mod filter;
mod group_by;
mod join;
mod k_core;
mod lag_diff;
mod list_explode;
mod memory_limit;
mod negative_sample;
mod numbers;
mod per_split;
pub(crate) mod planning;
mod rename;
mod sample;
mod select;
mod session;
mod split;
mod split_hash;
mod sql;
mod task_rows;
#[cfg(test)]
mod tests;
mod unique_rows;

pub use command::{Command, Format};
pub use concat::Concat;
pub use data_stats::DataStats;
pub use dedup::{Dedup, Keep};
pub use drop_nulls::DropNulls;
pub use filter::Filter;
pub use group_by::GroupBy;
pub use join::{Duplicates, How, Join};
pub use k_core::KCore;
pub use lag_diff::LagDiff;
pub use list_explode::ListExplode;
pub use negative_sample::{Likelihood, NegativeSample};
pub use rename::Rename;
pub use sample::Sample;
pub use select::Select;
pub use session::Session;
pub use split::{LeaveLast, Split, TimeSplit};
pub use sql::Sql;
pub use unique_rows::{Side, UniqueRows};
