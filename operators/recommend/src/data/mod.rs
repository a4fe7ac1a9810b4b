//! Training data in memory and on disk: features, ids, positives, the item catalogue.

pub(crate) mod catalogue;
pub(crate) mod dense_features;
pub(crate) mod feature_column;
pub(crate) mod feature_table;
pub(crate) mod id_mapping;
pub(crate) mod positives;
pub(crate) mod row_blocks;
pub(crate) mod sample_weight;
pub(crate) mod scaling_checks;
pub(crate) mod time_decay;
pub(crate) mod tower_columns;
pub(crate) mod training_rows;

pub use time_decay::TimeDecay;
