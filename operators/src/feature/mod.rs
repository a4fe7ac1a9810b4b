//! Operators that make features: they change columns and keep rows.

mod add_tags;
mod bucketize;
mod byte_size;
mod categorify;
mod clip;
mod columns_of;
mod fill_missing;
mod fit_split;
mod groups;
mod hash_bucket;
mod hashed_cross;
mod join_group_stats;
mod log_op;
mod normalize;
mod per_column;
mod quantile;
mod tag_as;
mod tagging;
mod target_encode;

pub use add_tags::AddTags;
pub use bucketize::{Boundaries, Bucketize};
pub use categorify::Categorify;
pub use clip::Clip;
pub use fill_missing::{FillMissing, Filler};
pub use hash_bucket::HashBucket;
pub use hashed_cross::HashedCross;
pub use join_group_stats::{JoinGroupStats, Stat};
pub use log_op::LogOp;
pub use normalize::{Method, Normalize};
pub use per_column::PerColumn;
pub use tag_as::{TagAsItemFeatures, TagAsItemID, TagAsUserFeatures, TagAsUserID};
pub use target_encode::TargetEncode;
