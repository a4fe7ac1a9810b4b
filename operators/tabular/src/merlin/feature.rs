//! A column in Merlin's schema.

use arrow::datatypes::DataType;
use serde_json::{Value, json};

use towline_api::{Column, Domain, Schema, Tag};

/// A feature of Merlin's schema. Merlin has integers, floats and bytes; every other type is mapped to one of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Feature {
    pub(crate) name: String,
    pub(crate) kind: MerlinType,
    pub(crate) tags: Vec<String>,
    /// Name and largest id of the vocabulary.
    pub(crate) domain: Option<(String, u64)>,
    /// Minimum and maximum number of values per row; a maximum of 0 means unbounded.
    pub(crate) value_count: Option<(u64, u64)>,
    /// NVTabular's additions: embedding sizes, the vocabulary file, shapes.
    pub(crate) metadata: Value,
}

/// Merlin's value types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MerlinType {
    Int,
    Float,
    Bytes,
}

impl MerlinType {
    pub(crate) fn word(self) -> &'static str {
        match self {
            MerlinType::Int => "INT",
            MerlinType::Float => "FLOAT",
            MerlinType::Bytes => "BYTES",
        }
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        [MerlinType::Int, MerlinType::Float, MerlinType::Bytes]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// NVTabular's heuristic for the embedding width: 1.6 * ids^0.56, between 16 and 512.
fn embedding_width(ids: u64) -> f64 {
    (1.6 * (ids as f64).powf(0.56)).round().clamp(16.0, 512.0)
}

impl Feature {
    /// The feature of a column; `vocabulary` tells whether its vocabulary file is written.
    pub(crate) fn of(column: &Column, vocabulary: bool) -> Self {
        let element = column.element_type();
        let kind = if element.is_floating() {
            MerlinType::Float
        } else if element.is_integer() || element.is_temporal() || *element == DataType::Boolean {
            MerlinType::Int
        } else {
            MerlinType::Bytes
        };
        let bits = element.primitive_width().map_or(0.0, |bytes| bytes as f64 * 8.0);
        let size = column.domain.as_ref().and_then(|domain| domain.size);
        let list = column.is_list();
        let ragged = list && !matches!(column.data_type, DataType::FixedSizeList(..));
        let dims = match &column.data_type {
            DataType::FixedSizeList(_, length) => json!([[0.0, null_bound()], f64::from(*length)]),
            _ if list => json!([[0.0, null_bound()], [0.0, null_bound()]]),
            _ => json!([[0.0, null_bound()]]),
        };
        let mut metadata = json!({ "is_list": list, "is_ragged": ragged, "dtype_item_size": bits, "_dims": dims });
        if let Some(size) = size {
            metadata["num_buckets"] = Value::Null;
            metadata["freq_threshold"] = json!(0.0);
            metadata["max_size"] = json!(0.0);
            metadata["embedding_sizes"] = json!({ "cardinality": size as f64, "dimension": embedding_width(size) });
            if vocabulary {
                metadata["cat_path"] = json!(format!(".//categories/unique.{}.parquet", column.name));
            }
        }
        let value_count = match &column.data_type {
            DataType::FixedSizeList(_, length) => Some((*length as u64, *length as u64)),
            _ => list.then_some((0, 0)),
        };
        Feature {
            name: column.name.clone(),
            kind,
            tags: column.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
            domain: column
                .domain
                .as_ref()
                .and_then(|d| Some((d.name.clone(), d.size?.saturating_sub(1)))),
            value_count,
            metadata,
        }
    }

    /// Sets tags and domain sizes from Merlin's schema on the columns with the same names.
    pub(crate) fn describe(features: &[Feature], schema: &mut Schema) {
        for column in &mut schema.columns {
            let Some(feature) = features.iter().find(|feature| feature.name == column.name) else {
                continue;
            };
            column
                .tags
                .extend(feature.tags.iter().filter_map(|tag| tag.parse::<Tag>().ok()));
            column.domain = feature.domain.as_ref().map(|(name, max)| Domain {
                name: name.clone(),
                size: Some(max.saturating_add(1)),
                ..Domain::default()
            });
        }
    }
}

fn null_bound() -> Value {
    Value::Null
}
