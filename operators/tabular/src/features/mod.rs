//! Feature operators: they change columns and keep rows.

pub mod categorical;
pub(crate) mod columns_of;
pub(crate) mod fit_split;
pub mod list;
pub mod numeric;
pub(crate) mod per_column;
pub mod tags;
pub mod target;
pub mod time;
pub mod vector;

pub use per_column::PerColumn;
