//! `Als`: matrix factorisation by alternating least squares.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use towline_kernels::{ImplicitFeedback, Isa, Weights, solve_rows};

use crate::model::embedding_model;
use crate::model::interactions::{Interactions, interactions_type};
use towline_api::{
    Artifact, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output, Port, Problem,
    Purity, Result, Task, TypeContext, default_split,
};

/// Matrix factorisation for implicit feedback by alternating least squares (Hu, Koren and Volinsky 2008): a vector per
/// user and per item, whose dot product is trained to be 1 for observed interactions and 0 otherwise.
///
/// Uses the two id columns only; repeated interactions of a user with an item count once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Als {
    /// Number of latent factors: the width of the vectors.
    #[serde(default = "default_factors")]
    #[schemars(range(min = 1, max = 1024))]
    pub factors: usize,
    /// L2 regularisation strength.
    #[serde(default = "default_regularization")]
    #[schemars(range(min = 0.0))]
    pub regularization: f64,
    /// Confidence weight of an observed interaction: 1 + `alpha`, against 1 for an unobserved one.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
    /// Number of alternations between users and items.
    #[serde(default = "default_iterations")]
    #[schemars(range(min = 1))]
    pub iterations: usize,
    /// Random seed of the initial vectors.
    #[serde(default)]
    pub seed: u64,
    /// The split to train on.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

fn default_factors() -> usize {
    128
}

fn default_regularization() -> f64 {
    30.0
}

fn default_alpha() -> f64 {
    5.0
}

fn default_iterations() -> usize {
    15
}

const INPUT: DatasetPort = DatasetPort::required("input", "Positive interactions: encoded columns with their tags.");

impl Describe for Als {
    const NAME: &'static str = "Als";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: Als\ninput: features\nwith: { factors: 64, regularization: 30.0 }\n";
}

impl Operator for Als {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        Ok(NodeType::Model(
            interactions_type(INPUT.input_type(inputs)?, &self.fit_on, &[], Some(self.factors))?.into(),
        ))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

/// Positives of all users, or of all items, in one array with offsets.
struct PositiveLists {
    offsets: Vec<usize>,
    columns: Vec<u32>,
}

impl PositiveLists {
    fn of<'a>(rows: impl Iterator<Item = &'a [u32]>) -> Self {
        let mut lists = PositiveLists {
            offsets: vec![0],
            columns: Vec::new(),
        };
        for row in rows {
            lists.columns.extend_from_slice(row);
            lists.offsets.push(lists.columns.len());
        }
        lists
    }

    fn likes(&self) -> ImplicitFeedback<'_> {
        ImplicitFeedback {
            offsets: &self.offsets,
            columns: &self.columns,
        }
    }
}

impl Task for Als {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = INPUT.files(inputs)?;
        let interactions = Interactions::read(dataset, &self.fit_on, &[], Some(self.factors), context)?;
        let histories = interactions.histories()?;
        let mut liked_by: Vec<Vec<u32>> = vec![Vec::new(); interactions.catalogue.len()];
        for (place, (_, items)) in histories.iter().enumerate() {
            for item in items {
                liked_by[*item as usize].push(place as u32);
            }
        }
        let by_user = PositiveLists::of(histories.iter().map(|(_, items)| items.as_slice()));
        let by_item = PositiveLists::of(liked_by.iter().map(Vec::as_slice));
        let width = self.factors;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut items: Vec<f32> = (0..liked_by.len() * width)
            .map(|_| rng.random_range(-0.5..0.5) / width as f32)
            .collect();
        let mut users = vec![0.0; histories.len() * width];
        let weights = Weights {
            alpha: self.alpha,
            regularization: self.regularization,
        };
        let isa = Isa::best();
        context.progress.begin("iterations", Some(self.iterations as u64));
        for _ in 0..self.iterations {
            context.cancel.check()?;
            solve_rows(
                isa,
                context.threads,
                by_user.likes(),
                &items,
                width,
                weights,
                &mut users,
            );
            solve_rows(
                isa,
                context.threads,
                by_item.likes(),
                &users,
                width,
                weights,
                &mut items,
            );
            context.progress.advance(1);
        }
        let model_type = &interactions.model_type;
        let (Some(user), Some(item)) = (model_type.user_column(), model_type.item_column()) else {
            return Err(OperatorError::internal("there are no id columns"));
        };
        let mut user_table = vec![0.0; interactions.size(user)? * width];
        for ((id, _), factors) in histories.iter().zip(users.chunks_exact(width)) {
            user_table[*id as usize * width..][..width].copy_from_slice(factors);
        }
        let mut item_table = vec![0.0; interactions.size(item)? * width];
        for (id, row) in &interactions.catalogue.rows {
            let factors = &items[*row as usize * width..][..width];
            item_table[*id as usize * width..][..width].copy_from_slice(factors);
        }
        let (user, item) = ((user.name.clone(), user_table), (item.name.clone(), item_table));
        embedding_model::stored(interactions, width, vec![user], item, context)
    }
}
