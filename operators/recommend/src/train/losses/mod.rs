//! Loss functions and negative sampling.

pub(crate) mod hard_negatives;
pub(crate) mod in_batch;
pub(crate) mod in_batch_bf16;
pub(crate) mod pairwise;
pub(crate) mod sampling;
