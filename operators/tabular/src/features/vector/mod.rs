//! Vector columns: pretrained embeddings and similarities.

pub(crate) mod embedding_table;
pub(crate) mod pretrained_embedding;
pub(crate) mod safe_tensors;
pub(crate) mod similarity;
pub(crate) mod vectors;

pub use pretrained_embedding::PretrainedEmbedding;
pub use similarity::{Metric, Similarity};
