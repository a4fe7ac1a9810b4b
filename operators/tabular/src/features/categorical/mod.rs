//! Encodings of categorical columns.

pub(crate) mod categorify;
pub(crate) mod drop_low_cardinality;
pub(crate) mod hash_bucket;
pub(crate) mod hashed_cross;

pub use categorify::Categorify;
pub use drop_low_cardinality::DropLowCardinality;
pub use hash_bucket::HashBucket;
pub use hashed_cross::HashedCross;
