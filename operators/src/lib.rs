//! What an operator of Towline is, and every operator that ships with it.

pub mod contract;
pub mod retrieval;
pub mod sink;

use contract::Registry;

/// The operator that `a + b` stands for.
pub const CONCAT: &str = "Concat";
/// The operator that a chain without a step (`x: clicks[user_id]`) stands for.
pub const SELECT: &str = "Select";

/// Every operator that ships with Towline. Adding one takes its file and a line here.
pub fn builtin() -> Registry {
    let registry = Registry::default()
        .with::<sink::ParquetExport>()
        .with::<sink::RedisSink>()
        .with::<retrieval::Encode>()
        .with::<retrieval::Evaluate>()
        .with::<retrieval::ModelExport>()
        .with::<retrieval::TopKEncode>();
    #[cfg(feature = "torch")]
    let registry = registry.with::<retrieval::TwoTowerTrain>();
    registry
}
