//! `Ease`: embarrassingly shallow autoencoder.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use towline_kernels::{Isa, invert};

use crate::model::interactions::{Interactions, interactions_type};
use crate::model::item_weights::{Description, FILE, ItemWeights, KIND, WeightMatrix};
use towline_api::{
    Artifact, Code, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output, Port,
    Problem, Purity, Result, Task, TypeContext, default_split,
};

/// EASE: a linear item-to-item model with a closed-form solution (Steck 2019, "Embarrassingly shallow autoencoders for
/// sparse data"). A strong baseline for catalogues of up to some ten thousand items.
///
/// Uses the two id columns only. Memory and model size grow with the square of the catalogue: 4 bytes per pair of
/// items.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ease {
    /// L2 regularisation strength.
    #[serde(default = "default_regularization")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub regularization: f64,
    /// The split to train on.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

fn default_regularization() -> f64 {
    100.0
}

/// 3.6 GB of weights.
const MOST_ITEMS: usize = 30_000;

const INPUT: DatasetPort = DatasetPort::required("input", "Positive interactions: encoded columns with their tags.");

impl Describe for Ease {
    const NAME: &'static str = "Ease";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: Ease\ninput: features\nwith: { regularization: 100.0 }\n";

    fn check(&self) -> Vec<Problem> {
        if self.regularization.is_finite() && self.regularization > 0.0 {
            return Vec::new();
        }
        vec![Problem::new(Code::OutOfRange, "the regularisation must be more than 0").at("regularization")]
    }
}

impl Operator for Ease {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        Ok(NodeType::Model(
            interactions_type(INPUT.input_type(inputs)?, &self.fit_on, &[], None)?.into(),
        ))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl Task for Ease {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = INPUT.files(inputs)?;
        let interactions = Interactions::read(dataset, &self.fit_on, &[], None, context)?;
        let items = interactions.catalogue.len();
        if items > MOST_ITEMS {
            let text = format!("Ease is for catalogues of up to {MOST_ITEMS} items; this one has {items}. Als scales");
            return Err(OperatorError::invalid(text));
        }
        let histories = interactions.histories()?;
        let mut weights = vec![0.0_f32; items * items];
        for (_, met) in &histories {
            for a in met {
                let row = &mut weights[*a as usize * items..][..items];
                for b in met {
                    row[*b as usize] += 1.0;
                }
            }
        }
        for item in 0..items {
            weights[item * items + item] += self.regularization as f32;
        }
        context.cancel.check()?;
        if !invert(Isa::best(), context.threads, &mut weights, items) {
            let text = "the item-item matrix is singular in single precision: raise `regularization`";
            return Err(OperatorError::invalid(text));
        }
        let diagonal: Vec<f32> = (0..items).map(|item| weights[item * items + item]).collect();
        for (item, row) in weights.chunks_exact_mut(items).enumerate() {
            row.iter_mut()
                .zip(&diagonal)
                .for_each(|(weight, diagonal)| *weight /= -diagonal);
            row[item] = 0.0;
        }
        let model = ItemWeights {
            items,
            histories: histories.into_iter().collect(),
            weights: WeightMatrix::Dense(weights),
        };
        stored(&model, interactions, context)
    }
}

/// Stores the model.
pub(crate) fn stored(model: &ItemWeights, interactions: Interactions<'_>, context: &Context) -> Result<Output> {
    let path = context.temp_file(FILE);
    model.write(&path)?;
    let description = serde_json::to_value(Description { kind: KIND.to_owned() });
    let description = description.map_err(|error| OperatorError::internal(error.to_string()))?;
    interactions.stored(description, (FILE, path), context)
}
