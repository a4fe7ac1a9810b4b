//! Transformations of numeric columns.

pub(crate) mod bucketize;
pub(crate) mod cast_smallest;
pub(crate) mod clip;
pub(crate) mod fill_missing;
pub(crate) mod log_op;
pub(crate) mod normalize;
pub(crate) mod quantile;

pub use bucketize::{Boundaries, Bucketize};
pub use cast_smallest::CastSmallest;
pub use clip::Clip;
pub use fill_missing::{FillMissing, Filler};
pub use log_op::LogOp;
pub use normalize::{Method, Normalize};
