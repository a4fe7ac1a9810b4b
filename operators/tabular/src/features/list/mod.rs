//! Transformations of list columns.

pub(crate) mod list_join;
pub(crate) mod list_slice;

pub use list_join::ListJoin;
pub use list_slice::ListSlice;
