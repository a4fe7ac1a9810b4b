//! `ItemKNN`: item-based nearest neighbours.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::baselines::ease::stored;
use crate::model::interactions::{Interactions, interactions_type};
use crate::model::item_weights::{ItemWeights, WeightMatrix};
use crate::towers::scoring::best;
use towline_api::{
    Artifact, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, Output, Port, Problem, Purity, Result,
    Task, TypeContext, default_split,
};

/// Item-based k-nearest neighbours: recommends the items most similar to the user's history, by the cosine similarity
/// of the sets of users who interacted with them.
///
/// Uses the two id columns only.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemKNN {
    /// Number of nearest neighbours per item; items as similar as the last one are included.
    #[serde(default = "default_neighbours")]
    #[schemars(range(min = 1))]
    pub neighbours: usize,
    /// Shrinkage: added to the denominator of the cosine, which reduces the similarity of items with few users.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub shrink: f64,
    /// The split to train on.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

fn default_neighbours() -> usize {
    200
}

const INPUT: DatasetPort = DatasetPort::required("input", "Positive interactions: encoded columns with their tags.");

impl Describe for ItemKNN {
    const NAME: &'static str = "ItemKNN";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: ItemKNN\ninput: features\nwith: { neighbours: 200 }\n";
}

impl Operator for ItemKNN {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        Ok(NodeType::Model(
            interactions_type(INPUT.input_type(inputs)?, &self.fit_on, &[], None)?.into(),
        ))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl Task for ItemKNN {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = INPUT.files(inputs)?;
        let interactions = Interactions::read(dataset, &self.fit_on, &[], None, context)?;
        let items = interactions.catalogue.len();
        let histories = interactions.histories()?;
        let mut met_by: Vec<Vec<u32>> = vec![Vec::new(); items];
        for (place, (_, met)) in histories.iter().enumerate() {
            for item in met {
                met_by[*item as usize].push(place as u32);
            }
        }
        // Indexed by the item in a history: the items it contributes to, with weights.
        let mut counts_for: Vec<Vec<(u32, f32)>> = vec![Vec::new(); items];
        context.progress.begin("items", Some(items as u64));
        let mut together = vec![0.0_f32; items];
        for (item, users) in met_by.iter().enumerate() {
            context.cancel.check()?;
            together.fill(0.0);
            for user in users {
                for other in &histories[*user as usize].1 {
                    together[*other as usize] += 1.0;
                }
            }
            for (other, count) in together.iter_mut().enumerate() {
                let lengths = ((users.len() * met_by[other].len()) as f64).sqrt();
                *count = (f64::from(*count) / (lengths + self.shrink)) as f32;
            }
            let least = best(&together, self.neighbours, |row| row != item as u32)
                .last()
                .map_or(0.0, |like| like.score);
            for (other, &alike) in together.iter().enumerate() {
                if other != item && alike > 0.0 && alike >= least {
                    counts_for[other].push((item as u32, alike));
                }
            }
            context.progress.advance(1);
        }
        let mut offsets = vec![0];
        for row in &counts_for {
            offsets.push(offsets[offsets.len() - 1] + row.len() as u64);
        }
        let (columns, values) = counts_for.into_iter().flatten().unzip();
        let weights = WeightMatrix::Sparse {
            offsets,
            columns,
            values,
        };
        let model = ItemWeights {
            items,
            histories: histories.into_iter().collect(),
            weights,
        };
        stored(&model, interactions, context)
    }
}
