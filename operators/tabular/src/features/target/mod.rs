//! Statistics of a target per group.

pub(crate) mod group_statistic;
pub(crate) mod group_summaries;
pub(crate) mod groups;
pub(crate) mod join_group_stats;
pub(crate) mod target_encode;
pub(crate) mod target_means;

pub use group_statistic::Stat;
pub use join_group_stats::JoinGroupStats;
pub use target_encode::TargetEncode;
