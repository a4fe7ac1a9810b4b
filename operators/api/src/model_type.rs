//! The static type of a model, whatever its family.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Schema;

/// The static type of a model: what it reads, so that data of another shape is refused before a run. The family says what
/// the roles and the properties are; operators that use models read those of the families that they know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Layout", into = "Layout")]
pub struct ModelType {
    /// The kind of model: `retrieval`, `ranking`.
    pub family: String,
    /// The columns that it reads, by their role: `query` and `item`, `features`.
    pub inputs: BTreeMap<String, Schema>,
    /// What else is known before a run, by name: the width of embeddings.
    pub properties: BTreeMap<String, Value>,
    /// Names of the metrics that training leaves behind.
    pub metrics: Vec<String>,
}

/// The family whose models were stored before there were families.
const RETRIEVAL: &str = "retrieval";

/// The stored layout. Retrieval models keep the one from before there were families, so that artifacts in a store stay
/// readable and keep their digests.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Layout {
    Any {
        family: String,
        inputs: BTreeMap<String, Schema>,
        properties: BTreeMap<String, Value>,
        metrics: Vec<String>,
    },
    Retrieval {
        query: Schema,
        item: Schema,
        user_id: Value,
        item_id: Value,
        dim: Option<Value>,
        #[serde(default)]
        score: Option<Value>,
        metrics: Vec<String>,
    },
}

impl From<Layout> for ModelType {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Any {
                family,
                inputs,
                properties,
                metrics,
            } => ModelType {
                family,
                inputs,
                properties,
                metrics,
            },
            Layout::Retrieval {
                query,
                item,
                user_id,
                item_id,
                dim,
                score,
                metrics,
            } => {
                let named = |(name, value): (&str, Option<Value>)| Some((name.to_owned(), value?));
                let properties = [
                    ("user_id", Some(user_id)),
                    ("item_id", Some(item_id)),
                    ("dim", dim),
                    ("score", score),
                ];
                ModelType {
                    family: RETRIEVAL.to_owned(),
                    inputs: [("query".to_owned(), query), ("item".to_owned(), item)].into(),
                    properties: properties.into_iter().filter_map(named).collect(),
                    metrics,
                }
            }
        }
    }
}

impl From<ModelType> for Layout {
    fn from(model: ModelType) -> Self {
        let ModelType {
            family,
            mut inputs,
            mut properties,
            metrics,
        } = model;
        let fits = |roles: &BTreeMap<String, Schema>, known: &BTreeMap<String, Value>| {
            roles.keys().eq(["item", "query"])
                && ["item_id", "user_id"].iter().all(|name| known.contains_key(*name))
                && known
                    .keys()
                    .all(|name| ["dim", "item_id", "score", "user_id"].contains(&name.as_str()))
        };
        if family != RETRIEVAL || !fits(&inputs, &properties) {
            return Layout::Any {
                family,
                inputs,
                properties,
                metrics,
            };
        }
        Layout::Retrieval {
            query: inputs.remove("query").unwrap_or_default(),
            item: inputs.remove("item").unwrap_or_default(),
            user_id: properties.remove("user_id").unwrap_or_default(),
            item_id: properties.remove("item_id").unwrap_or_default(),
            dim: properties.remove("dim"),
            score: properties.remove("score"),
            metrics,
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use serde_json::json;

    use super::*;
    use crate::Column;

    fn schema(name: &str) -> Schema {
        Schema {
            columns: vec![Column::new(name, DataType::Int64, false)],
        }
    }

    #[test]
    fn retrieval_models_keep_their_layout_and_so_their_digest() {
        let column = |name: &str| json!([{ "name": name, "type": "Int64", "nullable": false }]);
        for (dim, score) in [(json!(8), json!("dot")), (Value::Null, Value::Null)] {
            let stored = json!({
                "query": column("user"), "item": column("item"), "user_id": "user", "item_id": "item",
                "dim": dim, "score": score, "metrics": ["loss"],
            });
            let model: ModelType = serde_json::from_value(stored.clone()).unwrap();
            assert_eq!(model.family, "retrieval");
            assert_eq!(model.inputs["item"], schema("item"));
            assert_eq!(model.properties.get("dim"), (!dim.is_null()).then_some(&dim));
            assert_eq!(serde_json::to_value(&model).unwrap(), stored);
        }
    }

    #[test]
    fn other_families_are_stored_under_their_own_names() {
        let model = ModelType {
            family: "ranking".to_owned(),
            inputs: [("features".to_owned(), schema("price"))].into(),
            properties: [("target".to_owned(), json!("click"))].into(),
            metrics: vec!["auc".to_owned()],
        };
        let stored = serde_json::to_value(&model).unwrap();
        assert_eq!(stored["family"], "ranking");
        assert_eq!(serde_json::from_value::<ModelType>(stored).unwrap(), model);
    }
}
