//! Operators that make tables out of tables, lazily.

mod concat;
mod filter;
mod planning;
mod rename;
mod select;
mod split;
mod split_hash;
mod sql;
#[cfg(test)]
mod tests;
mod unique_rows;

pub use concat::Concat;
pub use filter::Filter;
pub use rename::Rename;
pub use select::Select;
pub use split::{LeaveLast, Split, TimeSplit};
pub use sql::Sql;
pub use unique_rows::{Side, UniqueRows};
