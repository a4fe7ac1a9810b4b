//! `Popularity`: the most popular items.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::time_decay::TimeDecay;
use crate::model::embedding_model;
use crate::model::interactions::{Interactions, interactions_type};
use towline_api::{
    Artifact, Code, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output, Port,
    Problem, Purity, Result, Tag, Task, TypeContext, default_split,
};

/// Popularity baseline: recommends the most frequent items, overall or per user segment. With `recency`, recent
/// interactions have a higher weight.
///
/// Ties within a segment are broken by overall frequency, then by the smaller item id.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Popularity {
    /// Segment column: an encoded user column with one value per row.
    #[serde(default)]
    pub segment: Option<String>,
    /// Exponential time decay of interactions, for example `{ column: timestamp, half_life: 604800 }`.
    #[serde(default)]
    pub recency: Option<TimeDecay>,
    /// The split to count.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

/// Every item has a score per segment.
const MOST_SEGMENTS: usize = 1024;

const INPUT: DatasetPort = DatasetPort::required("input", "Positive interactions: encoded columns with their tags.");

impl Describe for Popularity {
    const NAME: &'static str = "Popularity";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: Popularity\ninput: features\nwith: { segment: user_age }\n";
}

impl Operator for Popularity {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let dataset = INPUT.input_type(inputs)?;
        if let Some(segment) = &self.segment {
            let Some(column) = dataset.schema.get(segment) else {
                return Err(vec![Problem::unknown_column(segment, &dataset.schema).at("segment")]);
            };
            if !column.has(&[Tag::User]) || column.has(&[Tag::Id]) || column.is_list() || column.domain.is_none() {
                let text = format!("`{segment}` is not an encoded user column with one value per row");
                return Err(vec![Problem::new(Code::BadInput, text).at("segment")]);
            }
        }
        if let Some(problem) = self
            .recency
            .as_ref()
            .and_then(|recency| recency.problem(&dataset.schema))
        {
            return Err(vec![problem]);
        }
        let dim = if self.segment.is_some() { None } else { Some(1) };
        let model = interactions_type(dataset, &self.fit_on, &self.columns(), dim)?;
        Ok(NodeType::Model(model.into()))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl Popularity {
    fn columns(&self) -> Vec<&str> {
        self.segment.iter().map(String::as_str).collect()
    }
}

impl Task for Popularity {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = INPUT.files(inputs)?;
        let dim = if self.segment.is_some() { None } else { Some(1) };
        let mut interactions = Interactions::read(dataset, &self.fit_on, &self.columns(), dim, context)?;
        let model_type = interactions.model_type.clone();
        let (Some(user), Some(item)) = (model_type.user_column(), model_type.item_column()) else {
            return Err(OperatorError::internal("there are no id columns"));
        };
        let (users, items) = (interactions.size(user)?, interactions.size(item)?);
        let table = &interactions.table;
        let held = table.single(&model_type.item_id)?;
        let weights = match &self.recency {
            Some(recency) => recency.weights(
                crate::model::stored_model::tables(dataset, Some(&self.fit_on))?,
                &context.cancel,
            )?,
            None => vec![1.0; table.rows],
        };
        let Some(segment) = &self.segment else {
            let mut counts = vec![0.0_f64; items];
            for (&item, weight) in held.iter().zip(&weights) {
                counts[item as usize] += weight;
            }
            let counts = counts.into_iter().map(|count| count as f32).collect();
            let query = vec![(user.name.clone(), vec![1.0; users])];
            return embedding_model::stored(interactions, 1, query, (item.name.clone(), counts), context);
        };
        let column = model_type.query.get(segment);
        let segments =
            interactions.size(column.ok_or_else(|| OperatorError::internal("the segment column is missing"))?)?;
        if segments > MOST_SEGMENTS {
            let text =
                format!("`{segment}` has {segments} values, but a segment column can have at most {MOST_SEGMENTS}");
            return Err(OperatorError::invalid(text));
        }
        // A user vector is 1 for its segment and for the overall component. An item vector has its count in each
        // segment, and in the overall component a fraction below 1 that grows with its total count.
        let dim = segments + 1;
        let mut counts = vec![0.0_f32; items * dim];
        // Integer counts are not reordered by anything below 1.
        let smallest = if self.recency.is_some() { 1e-6 } else { 1.0 };
        let overall = smallest / (table.rows + 1) as f32;
        for ((&item, &segment), &weight) in held.iter().zip(table.single(segment)?).zip(&weights) {
            counts[item as usize * dim + segment as usize] += weight as f32;
            counts[item as usize * dim + segments] += overall * weight as f32;
        }
        let mut choice = vec![0.0; segments * dim];
        for value in 0..segments {
            choice[value * dim + value] = 1.0;
        }
        let mut everybody = vec![0.0; users * dim];
        for row in everybody.chunks_exact_mut(dim) {
            row[segments] = 1.0;
        }
        let query = model_type
            .query
            .columns
            .iter()
            .map(|column| {
                let table = if column.name == *segment {
                    choice.clone()
                } else {
                    everybody.clone()
                };
                (column.name.clone(), table)
            })
            .collect();
        interactions.model_type.dim = Some(dim);
        embedding_model::stored(interactions, dim, query, (item.name.clone(), counts), context)
    }
}
