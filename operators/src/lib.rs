//! What an operator of Towline is, and every operator that ships with it.

mod array_function;
pub mod contract;
pub mod feature;
#[cfg(test)]
mod harness;
pub mod merlin;
pub mod retrieval;
pub mod sink;
mod sorted_runs;
pub mod source;
pub mod table;

use contract::Registry;

/// The operator that `a + b` stands for.
pub const CONCAT: &str = "Concat";
/// The operator that a chain without a step (`x: clicks[user_id]`) stands for.
pub const SELECT: &str = "Select";
/// The operator that a `sweep:` ends in.
pub const BEST: &str = "BestModel";

/// Every operator that ships with Towline. Adding one takes its file and a line here.
pub fn builtin() -> Registry {
    Registry::default()
        .with::<source::CsvSource>()
        .with::<source::ParquetSource>()
        .with::<source::SyntheticAliCcp>()
        .with::<merlin::MerlinSource>()
        .with::<table::Command>()
        .with::<table::Concat>()
        .with::<table::DataStats>()
        .with::<table::Dedup>()
        .with::<table::DropNulls>()
        .with::<table::Filter>()
        .with::<table::GroupBy>()
        .with::<table::History>()
        .with::<table::Join>()
        .with::<table::KCore>()
        .with::<table::LagDiff>()
        .with::<table::ListExplode>()
        .with::<table::NegativeSample>()
        .with::<table::Rename>()
        .with::<table::Sample>()
        .with::<table::Select>()
        .with::<table::Session>()
        .with::<table::Split>()
        .with::<table::Sql>()
        .with::<table::UniqueRows>()
        .with::<feature::AddTags>()
        .with::<feature::Bucketize>()
        .with::<feature::CastSmallest>()
        .with::<feature::Categorify>()
        .with::<feature::Clip>()
        .with::<feature::DropLowCardinality>()
        .with::<feature::FillMissing>()
        .with::<feature::HashBucket>()
        .with::<feature::HashedCross>()
        .with::<feature::JoinGroupStats>()
        .with::<feature::ListJoin>()
        .with::<feature::ListSlice>()
        .with::<feature::LogOp>()
        .with::<feature::Normalize>()
        .with::<feature::PretrainedEmbedding>()
        .with::<feature::Similarity>()
        .with::<feature::TagAsItemFeatures>()
        .with::<feature::TagAsItemID>()
        .with::<feature::TagAsUserFeatures>()
        .with::<feature::TagAsUserID>()
        .with::<feature::TargetEncode>()
        .with::<feature::TimeFeatures>()
        .with::<merlin::MerlinExport>()
        .with::<sink::ParquetExport>()
        .with::<sink::RedisSink>()
        .with::<sink::VectorSink>()
        .with::<retrieval::Als>()
        .with::<retrieval::AnnIndex>()
        .with::<retrieval::BestModel>()
        .with::<retrieval::Ensemble>()
        .with::<retrieval::CompareMetrics>()
        .with::<retrieval::Ease>()
        .with::<retrieval::Encode>()
        .with::<retrieval::Evaluate>()
        .with::<retrieval::ItemKNN>()
        .with::<retrieval::ModelExport>()
        .with::<retrieval::PlantedOptimum>()
        .with::<retrieval::Popularity>()
        .with::<retrieval::TopKEncode>()
        .with::<retrieval::TwoTowerTrain>()
}
