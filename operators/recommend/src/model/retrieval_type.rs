//! The static type of retrieval models: they score items for a user, from columns of each.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use towline_api::{Code, Column, Inputs, ModelPort, ModelType, NodeType, Optional, Problem, Schema};

/// The name of the family.
const FAMILY: &str = "retrieval";

/// What a retrieval model was trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetrievalType {
    /// The columns that describe the user, the user's id among them.
    pub(crate) query: Schema,
    /// The columns that describe the item, the item's id among them.
    pub(crate) item: Schema,
    /// Name of the user's id column.
    pub(crate) user_id: String,
    /// Name of the item's id column.
    pub(crate) item_id: String,
    /// Width of the embeddings, where the model has them.
    pub(crate) dim: Option<usize>,
    /// How the embeddings make a score, where the model has them.
    pub(crate) score: Option<Score>,
    /// Names of the metrics that training leaves behind.
    pub(crate) metrics: Vec<String>,
}

/// How two embeddings make a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Score {
    /// By their dot product.
    Dot,
    /// By the cosine of the angle between them.
    Cosine,
}

impl RetrievalType {
    /// The retrieval view of a model, or why it has none.
    pub(crate) fn of(model: &ModelType) -> Result<Self, Problem> {
        Self::read(model).ok_or_else(|| {
            let text = format!("a retrieval model is needed, not one of the family `{}`", model.family);
            let help = "connect a model that scores items for users, as TwoTowerTrain trains it";
            Problem::new(Code::BadInput, text).help(help)
        })
    }

    fn read(model: &ModelType) -> Option<Self> {
        if model.family != FAMILY {
            return None;
        }
        let text = |name: &str| model.properties.get(name)?.as_str().map(str::to_owned);
        let dim = model.properties.get("dim").and_then(Value::as_u64);
        let score = model.properties.get("score").cloned();
        Some(RetrievalType {
            query: model.inputs.get("query")?.clone(),
            item: model.inputs.get("item")?.clone(),
            user_id: text("user_id")?,
            item_id: text("item_id")?,
            dim: dim.map(|dim| dim as usize),
            score: score.and_then(|score| serde_json::from_value(score).ok()),
            metrics: model.metrics.clone(),
        })
    }

    /// The model type on a port.
    pub(crate) fn at(port: ModelPort, inputs: &Inputs<NodeType>) -> Result<Self, Vec<Problem>> {
        Self::of(port.input_type(inputs)?).map_err(|problem| vec![problem.at_port(port.name())])
    }

    /// The model type on a port, if a model is connected.
    pub(crate) fn at_optional(
        port: ModelPort<Optional>,
        inputs: &Inputs<NodeType>,
    ) -> Result<Option<Self>, Vec<Problem>> {
        let model = port.input_type(inputs)?.map(Self::of).transpose();
        model.map_err(|problem| vec![problem.at_port(port.name())])
    }

    /// The user's id column.
    pub(crate) fn user_column(&self) -> Option<&Column> {
        self.query.get(&self.user_id)
    }

    /// The item's id column.
    pub(crate) fn item_column(&self) -> Option<&Column> {
        self.item.get(&self.item_id)
    }
}

impl From<RetrievalType> for ModelType {
    fn from(model: RetrievalType) -> Self {
        let properties = [
            ("user_id", Some(json!(model.user_id))),
            ("item_id", Some(json!(model.item_id))),
            ("dim", model.dim.map(|dim| json!(dim))),
            ("score", model.score.map(|score| json!(score))),
        ];
        let named = |(name, value): (&str, Option<Value>)| Some((name.to_owned(), value?));
        ModelType {
            family: FAMILY.to_owned(),
            inputs: [("query".to_owned(), model.query), ("item".to_owned(), model.item)].into(),
            properties: properties.into_iter().filter_map(named).collect(),
            metrics: model.metrics,
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    fn retrieval() -> RetrievalType {
        let schema = |name: &str| Schema {
            columns: vec![Column::new(name, DataType::Int64, false)],
        };
        RetrievalType {
            query: schema("user"),
            item: schema("item"),
            user_id: "user".to_owned(),
            item_id: "item".to_owned(),
            dim: Some(8),
            score: Some(Score::Cosine),
            metrics: vec!["loss".to_owned()],
        }
    }

    #[test]
    fn the_type_comes_back_from_the_store_in_the_layout_from_before_there_were_families() {
        let own = retrieval();
        let stored = json!(ModelType::from(own.clone()));
        assert_eq!(stored["score"], "cosine");
        assert_eq!(stored["user_id"], "user");
        assert!(stored.get("family").is_none());
        let model: ModelType = serde_json::from_value(stored).unwrap();
        assert_eq!(RetrievalType::of(&model), Ok(own));
    }

    #[test]
    fn a_model_of_another_family_is_refused_by_name() {
        let ranking = ModelType {
            family: "ranking".to_owned(),
            ..ModelType::from(retrieval())
        };
        let problem = RetrievalType::of(&ranking).unwrap_err();
        assert!(
            problem.message.contains("`ranking`") && problem.help.is_some(),
            "{problem:?}"
        );
    }
}
