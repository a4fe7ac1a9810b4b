//! From parameters and columns to the architecture of the towers and the optimizer.

use std::collections::BTreeMap;

use towline_kernels::{Decay, Rule, Schedule, Step};

use crate::data::feature_column::{FeatureColumn, FeatureKind};
use crate::data::feature_table::FeatureTable;
use crate::data::tower_columns::TowerColumns;
use crate::towers::Side;
use crate::towers::tower_shape::{EmbeddingShape, Normalize, NumbersShape, Pool, TowerShape, own_table};
use crate::train::config::training_options::{LearningRateSchedule, Optimizer};
use crate::train::network::dropout::Dropout;
use crate::train::network::temperature::TemperatureConfig;
use crate::train::train_backend::TrainingConfig;
use crate::train::two_tower_train::TwoTowerTrain;
use towline_api::{Column, OperatorError, Result};

/// Whether the ids of two columns stand for the same values, so that they have one embedding table: they share a
/// vocabulary, which is their domain.
pub(crate) fn one_domain(a: &Column, b: &Column) -> bool {
    let (Some(a), Some(b)) = (&a.domain, &b.domain) else {
        return false;
    };
    (&a.name, a.size, &a.vocabulary) == (&b.name, b.size, &b.vocabulary)
}

impl TwoTowerTrain {
    /// The columns of the tower of the users and of that of the items.
    pub(crate) fn tower_columns(&self, sides: &TowerColumns) -> (Vec<Column>, Vec<Column>) {
        let (user, item) = self.id_embedding.of_sides();
        let columns = |all: &[Column], id: &str, with_id: bool| {
            let kept = all.iter().filter(|column| with_id || column.name != id);
            kept.filter(|column| !self.is_initial_vector(&column.name))
                .cloned()
                .collect()
        };
        (
            columns(&sides.query, &sides.user_id, user),
            columns(&sides.item, &sides.item_id, item),
        )
    }

    /// Width of embeddings that are added.
    pub(crate) fn added_width(&self) -> usize {
        self.embedding_dim.unwrap_or(64)
    }

    /// The shapes of the towers; `rows` of users and of items say how long vectors are.
    pub(crate) fn shapes(
        &self,
        sides: &TowerColumns,
        rows: (&FeatureTable, &FeatureTable),
    ) -> Result<(TowerShape, TowerShape)> {
        let (query, item) = self.tower_columns(sides);
        let all: Vec<(Side, &Column)> = (query.iter().map(|column| (Side::Query, column)))
            .chain(item.iter().map(|column| (Side::Item, column)))
            .filter(|(_, column)| FeatureKind::of(column) == Some(FeatureKind::IdFeatures))
            .collect();
        let widths = self.initial_widths(rows.1)?;
        Ok((
            self.shape((Side::Query, &query), (&all, &widths), rows.0)?,
            self.shape((Side::Item, &item), (&all, &widths), rows.1)?,
        ))
    }

    /// The shape of one tower; `all` are the columns with embeddings of both, and `widths` those that are given by vectors.
    fn shape(
        &self,
        (side, columns): (Side, &[Column]),
        (all, widths): (&[(Side, &Column)], &BTreeMap<&str, usize>),
        rows: &FeatureTable,
    ) -> Result<TowerShape> {
        let (mut embeddings, mut numbers) = (Vec::new(), Vec::new());
        for column in columns {
            if let FeatureColumn::Dense(found) = rows.cells(&column.name)? {
                if found.width == 0 {
                    let text = format!("the vectors of `{}` have no numbers", column.name);
                    return Err(OperatorError::invalid(text));
                }
                numbers.push(NumbersShape {
                    column: column.name.clone(),
                    width: found.width,
                });
                continue;
            }
            let alike: Vec<(Side, &Column)> = all
                .iter()
                .copied()
                .filter(|(_, other)| one_domain(column, other))
                .collect();
            let first = alike.first().map(|(side, first)| own_table(*side, &first.name));
            embeddings.push(EmbeddingShape {
                table: first.filter(|first| *first != own_table(side, &column.name)),
                ..self.embedding(column, &alike, widths)?
            });
        }
        Ok(TowerShape {
            embeddings,
            numbers,
            layers: self.layers.clone(),
            activation: self.activation,
        })
    }

    /// A column with a table of its own; `alike` are all columns of its domain.
    fn embedding(
        &self,
        column: &Column,
        alike: &[(Side, &Column)],
        widths: &BTreeMap<&str, usize>,
    ) -> Result<EmbeddingShape> {
        let rows = column.domain.as_ref().and_then(|domain| domain.size);
        let rows = rows.ok_or_else(|| {
            OperatorError::internal(format!("`{}` does not say how many ids it can hold", column.name))
        })? as usize;
        let rule = ((2.0 * (rows as f64).powf(0.25)).ceil() as usize)
            .next_multiple_of(8)
            .min(64);
        let dim = if self.layers.is_empty() {
            self.added_width()
        } else {
            let name = |(_, other): &(Side, &'_ Column)| other.name.clone();
            let mut names = alike.iter().map(name);
            let given = names.find_map(|name| {
                let given = widths.get(name.as_str());
                given.or_else(|| self.embedding_dims.get(&name)).copied()
            });
            given.or(self.embedding_dim).unwrap_or(rule)
        };
        // A column without lists has nothing to pool.
        let pooling = column.is_list().then(|| self.pooling_of(&column.name));
        Ok(EmbeddingShape {
            column: column.name.clone(),
            rows,
            dim,
            pooling: pooling.unwrap_or_default(),
            table: None,
        })
    }

    fn pooling_of(&self, column: &str) -> Pool {
        self.poolings.get(column).copied().unwrap_or(self.pooling)
    }

    /// Initial softmax temperature.
    fn first_temperature(&self) -> f64 {
        let default = if self.normalize == Normalize::L2 { 0.05 } else { 1.0 };
        self.temperature.unwrap_or(default)
    }

    /// Hyperparameters of a training of this many steps.
    pub(crate) fn training_config(&self, steps: usize) -> TrainingConfig {
        TrainingConfig {
            step: self.step(steps),
            clip_norm: self.clip_norm,
            dropout: Dropout::new(self.dropout, self.seed),
            temperature: TemperatureConfig {
                first: self.first_temperature(),
                learnt: self.learn_temperature,
            },
        }
    }

    /// The optimizer, for a training of this many steps.
    pub(crate) fn step(&self, steps: usize) -> Step {
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
