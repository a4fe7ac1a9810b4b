//! What an operator of Towline is, and every operator that ships with it.

pub mod contract;
pub mod feature;
pub mod retrieval;
pub mod sink;
pub mod source;
pub mod table;

use contract::Registry;

/// The operator that `a + b` stands for.
pub const CONCAT: &str = "Concat";
/// The operator that a chain without a step (`x: clicks[user_id]`) stands for.
pub const SELECT: &str = "Select";

/// Every operator that ships with Towline. Adding one takes its file and a line here.
pub fn builtin() -> Registry {
    Registry::default()
        .with::<source::CsvSource>()
        .with::<source::ParquetSource>()
        .with::<source::SyntheticAliCcp>()
        .with::<table::Concat>()
        .with::<table::Filter>()
        .with::<table::Rename>()
        .with::<table::Select>()
        .with::<table::Split>()
        .with::<table::Sql>()
        .with::<table::UniqueRows>()
        .with::<feature::AddTags>()
        .with::<feature::Categorify>()
        .with::<feature::TagAsItemFeatures>()
        .with::<feature::TagAsItemID>()
        .with::<feature::TagAsUserFeatures>()
        .with::<feature::TagAsUserID>()
        .with::<sink::ParquetExport>()
        .with::<sink::RedisSink>()
        .with::<retrieval::Als>()
        .with::<retrieval::CompareMetrics>()
        .with::<retrieval::Ease>()
        .with::<retrieval::Encode>()
        .with::<retrieval::Evaluate>()
        .with::<retrieval::ItemKNN>()
        .with::<retrieval::ModelExport>()
        .with::<retrieval::Popularity>()
        .with::<retrieval::TopKEncode>()
        .with::<retrieval::TwoTowerTrain>()
}
