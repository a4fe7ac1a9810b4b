//! What the parameters of `TwoTowerTrain` make of its columns: the shapes of the towers, and the optimizer.

use towline_kernels::{Decay, Rule, Schedule, Step};

use super::sides::Sides;
use super::towers::{EmbeddingShape, Normalize, TowerShape};
use super::training_options::{LearningRateSchedule, Optimizer};
use super::two_tower_train::TwoTowerTrain;
use crate::contract::{Column, OperatorError, Result};

impl TwoTowerTrain {
    /// The columns of the tower of the users and of that of the items.
    pub(super) fn tower_columns(&self, sides: &Sides) -> (Vec<Column>, Vec<Column>) {
        let (user, item) = self.id_embedding.of_sides();
        let columns = |all: &[Column], id: &str, with_id: bool| {
            let kept = all.iter().filter(|column| with_id || column.name != id);
            kept.cloned().collect()
        };
        (
            columns(&sides.query, &sides.user_id, user),
            columns(&sides.item, &sides.item_id, item),
        )
    }

    /// Width of embeddings that are added.
    pub(super) fn added_width(&self) -> usize {
        self.embedding_dim.unwrap_or(64)
    }

    /// The shape of the tower of these columns.
    pub(super) fn shape(&self, columns: &[Column]) -> Result<TowerShape> {
        let embedding = |column: &Column| {
            let rows = column.domain.as_ref().and_then(|domain| domain.size);
            let rows = rows.ok_or_else(|| {
                OperatorError::invalid(format!("`{}` does not say how many ids it can hold", column.name))
            })? as usize;
            let rule = ((2.0 * (rows as f64).powf(0.25)).ceil() as usize)
                .next_multiple_of(8)
                .min(64);
            let dim = if self.layers.is_empty() {
                self.added_width()
            } else {
                let own = self.embedding_dims.get(&column.name).copied();
                own.or(self.embedding_dim).unwrap_or(rule)
            };
            Ok(EmbeddingShape {
                column: column.name.clone(),
                rows,
                dim,
                pooling: self.pooling,
            })
        };
        let embeddings = columns.iter().map(embedding).collect::<Result<_>>()?;
        Ok(TowerShape {
            embeddings,
            layers: self.layers.clone(),
        })
    }

    /// What scores are divided by.
    pub(super) fn temperature(&self) -> f64 {
        let default = if self.normalize == Normalize::L2 { 0.05 } else { 1.0 };
        self.temperature.unwrap_or(default)
    }

    /// The optimizer, for a training of this many steps.
    pub(super) fn step(&self, steps: usize) -> Step {
        let adam = Rule::Adam {
            beta1: 0.9,
            beta2: 0.999,
        };
        let rule = match self.optimizer {
            Optimizer::Adam | Optimizer::AdamW => adam,
            Optimizer::Adagrad => Rule::Adagrad,
            Optimizer::Sgd => Rule::Sgd,
        };
        let decay = match self.optimizer {
            _ if self.weight_decay == 0.0 => Decay::None,
            Optimizer::AdamW => Decay::Decoupled(self.weight_decay),
            _ => Decay::Coupled(self.weight_decay),
        };
        let cosine = (self.schedule == LearningRateSchedule::Cosine).then_some(steps as u32);
        Step {
            rule,
            decay,
            schedule: Schedule {
                peak: self.learning_rate,
                warm_up: self.warm_up,
                cosine,
            },
        }
    }
}
