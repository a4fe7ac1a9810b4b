//! The registry: every operator that ships with Towline.

use towline_api::Registry;
use towline_publish as publish;
use towline_recommend as recommend;
use towline_tabular as tabular;

pub use tabular::merlin::MERLIN_NAMES;

/// The operator that `a + b` stands for.
pub const CONCAT: &str = "Concat";
/// The operator that a chain without a step (`x: clicks[user_id]`) stands for.
pub const SELECT: &str = "Select";
/// The operator that a `sweep:` ends in.
pub const BEST: &str = "BestModel";

/// Every operator that ships with Towline. Adding one takes its file and a line here.
pub fn builtin() -> Registry {
    Registry::default()
        .with::<tabular::source::CsvSource>()
        .with::<tabular::source::ParquetSource>()
        .with::<recommend::synthetic::SyntheticAliCcp>()
        .with::<tabular::merlin::MerlinSource>()
        .with::<tabular::rows::query::Command>()
        .with::<tabular::rows::Concat>()
        .with::<tabular::rows::DataStats>()
        .with::<tabular::rows::Dedup>()
        .with::<tabular::rows::DropNulls>()
        .with::<tabular::rows::Filter>()
        .with::<tabular::rows::GroupBy>()
        .with::<tabular::rows::sequence::History>()
        .with::<tabular::rows::Join>()
        .with::<tabular::rows::sampling::KCore>()
        .with::<tabular::rows::sequence::LagDiff>()
        .with::<tabular::rows::ListExplode>()
        .with::<tabular::rows::sampling::NegativeSample>()
        .with::<tabular::rows::Rename>()
        .with::<tabular::rows::sampling::Sample>()
        .with::<tabular::rows::Select>()
        .with::<tabular::rows::sequence::Session>()
        .with::<tabular::rows::sampling::Split>()
        .with::<tabular::rows::query::Sql>()
        .with::<tabular::rows::UniqueRows>()
        .with::<tabular::features::tags::AddTags>()
        .with::<tabular::features::numeric::Bucketize>()
        .with::<tabular::features::numeric::CastSmallest>()
        .with::<tabular::features::categorical::Categorify>()
        .with::<tabular::features::numeric::Clip>()
        .with::<tabular::features::categorical::DropLowCardinality>()
        .with::<tabular::features::numeric::FillMissing>()
        .with::<tabular::features::categorical::HashBucket>()
        .with::<tabular::features::categorical::HashedCross>()
        .with::<tabular::features::target::JoinGroupStats>()
        .with::<tabular::features::list::ListJoin>()
        .with::<tabular::features::list::ListSlice>()
        .with::<tabular::features::numeric::LogOp>()
        .with::<tabular::features::numeric::Normalize>()
        .with::<tabular::features::vector::PretrainedEmbedding>()
        .with::<tabular::features::vector::Similarity>()
        .with::<tabular::features::tags::TagAsItemFeatures>()
        .with::<tabular::features::tags::TagAsItemID>()
        .with::<tabular::features::tags::TagAsUserFeatures>()
        .with::<tabular::features::tags::TagAsUserID>()
        .with::<tabular::features::target::TargetEncode>()
        .with::<tabular::features::time::TimeFeatures>()
        .with::<tabular::merlin::MerlinExport>()
        .with::<publish::ParquetExport>()
        .with::<publish::redis::RedisSink>()
        .with::<publish::redis::VectorSink>()
        .with::<recommend::baselines::Als>()
        .with::<recommend::retrieve::AnnIndex>()
        .with::<recommend::combine::BestModel>()
        .with::<recommend::combine::Ensemble>()
        .with::<recommend::evaluate::CompareMetrics>()
        .with::<recommend::baselines::Ease>()
        .with::<recommend::retrieve::Encode>()
        .with::<recommend::evaluate::Evaluate>()
        .with::<recommend::baselines::ItemKNN>()
        .with::<recommend::export::ModelExport>()
        .with::<recommend::baselines::PlantedOptimum>()
        .with::<recommend::baselines::Popularity>()
        .with::<recommend::retrieve::TopKEncode>()
        .with::<recommend::train::TwoTowerTrain>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_table_of_merlin_is_an_operator() {
        let registry = builtin();
        for (operator, names) in MERLIN_NAMES {
            assert!(registry.get(operator).is_some(), "{operator}");
            assert!(!names.is_empty(), "{operator}");
        }
    }
}
