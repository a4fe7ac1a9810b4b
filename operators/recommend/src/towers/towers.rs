//! The towers: embeddings per column, concatenated with columns of numbers, through an MLP.

use std::collections::VecDeque;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::towers::Side;
use crate::towers::tower_shape::{Normalize, Pool, TableShape, TowerShape, tables};
use towline_api::Result;

/// A fully connected layer.
#[derive(Debug, Clone)]
pub struct Dense {
    /// Row-major [outputs, inputs].
    pub weight: Vec<f32>,
    /// [outputs].
    pub bias: Vec<f32>,
}

/// One tower with its weights, but for the embedding tables.
#[derive(Debug, Clone)]
pub struct Tower {
    /// Its shape.
    pub shape: TowerShape,
    /// The table of each embedding, as a place in [`Towers::tables`].
    pub tables: Vec<usize>,
    /// Query vector of attention pooling, [dim], one per embedding; empty with other poolings.
    pub attention: Vec<Vec<f32>>,
    /// Its layers.
    pub layers: Vec<Dense>,
}

/// Both towers.
#[derive(Debug, Clone)]
pub struct Towers {
    /// Normalisation of their outputs.
    pub normalize: Normalize,
    /// Embedding tables, row-major [rows, dim]; a shared one is here once.
    pub tables: Vec<Vec<f32>>,
    /// The query (user) tower.
    pub query: Tower,
    /// The item tower.
    pub item: Tower,
}

impl Tower {
    /// Initial layers: uniform by Glorot and Bengio (2010), biases zero.
    fn init(shape: TowerShape, tables: Vec<usize>, rng: &mut ChaCha8Rng) -> Self {
        let mut uniform =
            |count: usize, bound: f32| -> Vec<f32> { (0..count).map(|_| rng.random_range(-bound..=bound)).collect() };
        let mut inputs = shape.width();
        let mut layers = Vec::new();
        for &outputs in &shape.layers {
            let bound = (6.0 / (inputs + outputs) as f32).sqrt();
            layers.push(Dense {
                weight: uniform(inputs * outputs, bound),
                bias: vec![0.0; outputs],
            });
            inputs = outputs;
        }
        let attention = shape.embeddings.iter().map(|embedding| match embedding.pooling {
            Pool::Attention => vec![0.0; embedding.dim],
            Pool::Mean | Pool::Sum | Pool::Max => Vec::new(),
        });
        Tower {
            attention: attention.collect(),
            shape,
            tables,
            layers,
        }
    }
}

/// A draw from the normal distribution with mean 0 and deviation 1 (Box and Muller's method).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (a, b) = (1.0 - rng.random::<f32>(), rng.random::<f32>());
    (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos()
}

impl Towers {
    /// Initial weights: embeddings normal with standard deviation 0.05, layers uniform.
    pub(crate) fn init(
        normalize: Normalize,
        query: TowerShape,
        item: TowerShape,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let (shapes, [of_query, of_item]) = tables(&query, &item)?;
        let fresh = |shapes: &[TableShape], rng: &mut ChaCha8Rng| -> Vec<Vec<f32>> {
            let numbers = shapes.iter().map(|shape| shape.rows * shape.dim);
            numbers
                .map(|count| (0..count).map(|_| 0.05 * normal(rng)).collect())
                .collect()
        };
        let first_of_items = of_query.iter().max().map_or(0, |last| last + 1);
        let mut tables = fresh(&shapes[..first_of_items], rng);
        let query = Tower::init(query, of_query, rng);
        tables.extend(fresh(&shapes[first_of_items..], rng));
        Ok(Towers {
            normalize,
            tables,
            query,
            item: Tower::init(item, of_item, rng),
        })
    }

    /// The tower of a side.
    pub fn tower(&self, side: Side) -> &Tower {
        match side {
            Side::Query => &self.query,
            Side::Item => &self.item,
        }
    }

    /// Width of the embeddings.
    pub(crate) fn dim(&self) -> usize {
        self.item.shape.dim()
    }

    /// The towers whose every weight is the mean of those of `all`, which have the same shape. The first gives the shape.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn mean(all: &VecDeque<Self>) -> Self {
        let mut mean = all[0].clone();
        for other in all.iter().skip(1) {
            for (sum, part) in mean.arrays_mut().into_iter().zip(other.arrays()) {
                sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            }
        }
        let share = 1.0 / all.len() as f32;
        mean.arrays_mut().into_iter().flatten().for_each(|x| *x *= share);
        mean
    }

    /// All weights: tables, then tower by tower layers and attention.
    pub fn arrays(&self) -> Vec<&Vec<f32>> {
        let mut all: Vec<&Vec<f32>> = self.tables.iter().collect();
        for tower in [&self.query, &self.item] {
            all.extend(tower.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias]));
            all.extend(&tower.attention);
        }
        all
    }

    /// The same, to be changed.
    pub fn arrays_mut(&mut self) -> Vec<&mut Vec<f32>> {
        let mut all: Vec<&mut Vec<f32>> = self.tables.iter_mut().collect();
        for tower in [&mut self.query, &mut self.item] {
            let layers = tower.layers.iter_mut();
            all.extend(layers.flat_map(|layer| [&mut layer.weight, &mut layer.bias]));
            all.extend(&mut tower.attention);
        }
        all
    }
}
