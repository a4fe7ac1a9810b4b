//! Statistics of a target per group.

pub(crate) mod group_summaries;
pub(crate) mod groups;
pub(crate) mod join_group_stats;
pub(crate) mod target_encode;
pub(crate) mod target_means;

pub use join_group_stats::{JoinGroupStats, Stat};
pub use target_encode::TargetEncode;
