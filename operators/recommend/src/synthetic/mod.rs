//! Synthetic interactions with a planted structure and a known optimum.

pub(crate) mod planted_recall;
pub(crate) mod planted_rule;
pub(crate) mod synthetic_ali_ccp;

pub use synthetic_ali_ccp::SyntheticAliCcp;
