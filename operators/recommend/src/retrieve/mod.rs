//! Top-k retrieval: lists per user, embeddings, approximate indexes.

pub(crate) mod ann_index;
pub(crate) mod batch_retrieval;
pub(crate) mod cold_start;
pub(crate) mod encode;
pub(crate) mod item_filter;
pub(crate) mod target_users;
pub(crate) mod top_k_encode;

pub use ann_index::{AnnIndex, Metric};
pub use cold_start::ColdStart;
pub use encode::Encode;
pub use target_users::UserId;
pub use top_k_encode::TopKEncode;
