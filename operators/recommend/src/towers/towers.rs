//! The towers: embeddings per column, concatenated with columns of numbers, through an MLP. Computed in plain Rust.

use std::collections::VecDeque;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::data::dense_features::DenseFeatures;
use crate::data::feature_column::IdFeatures;
use crate::data::feature_table::FeatureTable;
use crate::towers::Side;
use crate::towers::scoring::{dot, shards};
use crate::towers::tower_shape::{Normalize, Pool, TableShape, TowerShape, tables};
use towline_api::{PADDING_ID, Result};

/// A fully connected layer.
#[derive(Debug, Clone)]
pub(crate) struct Dense {
    /// Row-major [outputs, inputs].
    pub(crate) weight: Vec<f32>,
    /// [outputs].
    pub(crate) bias: Vec<f32>,
}

/// One tower with its weights, but for the embedding tables.
#[derive(Debug, Clone)]
pub(crate) struct Tower {
    /// Its shape.
    pub(crate) shape: TowerShape,
    /// The table of each embedding, as a place in [`Towers::tables`].
    pub(crate) tables: Vec<usize>,
    /// The vector that the elements of a list are weighed by, [dim], one per embedding; empty where they are not.
    pub(crate) attention: Vec<Vec<f32>>,
    /// Its layers.
    pub(crate) layers: Vec<Dense>,
}

/// Both towers.
#[derive(Debug, Clone)]
pub(crate) struct Towers {
    /// What is done to their outputs.
    pub(crate) normalize: Normalize,
    /// The embedding tables, row-major [rows, dim]; each once, whoever reads it.
    pub(crate) tables: Vec<Vec<f32>>,
    /// The query (user) tower.
    pub(crate) query: Tower,
    /// The item tower.
    pub(crate) item: Tower,
}

impl Tower {
    /// Fresh layers, uniform by Glorot and Bengio (2010), no bias.
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

    /// Leaves the output for a row in the first of the two vectors.
    fn embed_row(&self, inputs: &Inputs<'_>, row: usize, (input, output): &mut (Vec<f32>, Vec<f32>)) {
        input.clear();
        input.resize(self.shape.width(), 0.0);
        let mut start = 0;
        for ((shape, query), (table, ids)) in self.shape.embeddings.iter().zip(&self.attention).zip(&inputs.ids) {
            output.clear();
            output.resize(shape.dim, 0.0);
            let ids = ids.row(row);
            match shape.pooling {
                Pool::Attention => attend(table, ids, query, output),
                pooling => pool_row(table, ids, pooling, output),
            }
            input[start..]
                .iter_mut()
                .zip(output.iter())
                .for_each(|(sum, x)| *sum += x);
            if !self.shape.adds() {
                start += shape.dim;
            }
        }
        for numbers in &inputs.numbers {
            let numbers = numbers.row(row);
            input[start..start + numbers.len()].copy_from_slice(numbers);
            start += numbers.len();
        }
        for (index, layer) in self.layers.iter().enumerate() {
            output.clear();
            for (weights, bias) in layer.weight.chunks_exact(input.len()).zip(&layer.bias) {
                let value = dot(weights, input) + bias;
                output.push(if index + 1 < self.layers.len() {
                    self.shape.activation.of(value)
                } else {
                    value
                });
            }
            std::mem::swap(input, output);
        }
    }
}

/// What a tower reads of a table.
struct Inputs<'a> {
    /// The embedding table and the ids of each column with embeddings.
    ids: Vec<(&'a [f32], &'a IdFeatures)>,
    numbers: Vec<&'a DenseFeatures>,
}

/// A draw from the normal distribution with mean 0 and deviation 1 (Box and Muller's method).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (a, b) = (1.0 - rng.random::<f32>(), rng.random::<f32>());
    (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos()
}

fn embedding(table: &[f32], id: i64, width: usize) -> &[f32] {
    &table[id as usize * width..][..width]
}

/// The pooled rows of `ids` without padding; `out` is zero before.
fn pool_row(table: &[f32], ids: &[i64], pooling: Pool, out: &mut [f32]) {
    let mut count = 0.0_f32;
    for &id in ids.iter().filter(|&&id| id != PADDING_ID) {
        let weights = embedding(table, id, out.len());
        let highest = pooling == Pool::Max && count > 0.0;
        for (x, weight) in out.iter_mut().zip(weights) {
            *x = if highest { x.max(*weight) } else { *x + weight };
        }
        count += 1.0;
    }
    if pooling == Pool::Mean && count > 1.0 {
        for x in out {
            *x /= count;
        }
    }
}

/// The rows of `ids` without padding, weighted by the softmax of their products with `query`; `out` is zero before.
fn attend(table: &[f32], ids: &[i64], query: &[f32], out: &mut [f32]) {
    let rows = || {
        let ids = ids.iter().filter(|&&id| id != PADDING_ID);
        ids.map(|&id| embedding(table, id, query.len()))
    };
    let scores: Vec<f32> = rows().map(|row| dot(row, query)).collect();
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
    let sum: f32 = weights.iter().sum();
    for (row, weight) in rows().zip(weights) {
        for (out, x) in out.iter_mut().zip(row) {
            *out += x * (weight / sum);
        }
    }
}

impl Towers {
    /// Fresh weights: embeddings normal with deviation 0.05, layers uniform.
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
    pub(crate) fn tower(&self, side: Side) -> &Tower {
        match side {
            Side::Query => &self.query,
            Side::Item => &self.item,
        }
    }

    /// Width of the embeddings.
    pub(crate) fn dim(&self) -> usize {
        self.item.shape.dim()
    }

    /// The embeddings of the rows of `table`, row-major [rows, dim].
    pub(crate) fn embed(&self, side: Side, table: &FeatureTable, threads: usize) -> Result<Vec<f32>> {
        let tower = self.tower(side);
        let ids = tower.shape.embeddings.iter().zip(&tower.tables);
        let ids = ids.map(|(shape, place)| Ok((self.tables[*place].as_slice(), table.get(&shape.column)?)));
        let numbers = tower.shape.numbers.iter();
        let inputs = Inputs {
            ids: ids.collect::<Result<_>>()?,
            numbers: numbers
                .map(|shape| table.numbers(&shape.column, shape.width))
                .collect::<Result<_>>()?,
        };
        let dim = tower.shape.dim();
        let mut out = vec![0.0; table.rows * dim];
        std::thread::scope(|scope| {
            let mut rest = out.as_mut_slice();
            for range in shards(table.rows, threads) {
                let (part, after) = rest.split_at_mut(range.len() * dim);
                rest = after;
                let inputs = &inputs;
                scope.spawn(move || {
                    let mut scratch = (Vec::new(), Vec::new());
                    for (row, target) in range.zip(part.chunks_exact_mut(dim)) {
                        tower.embed_row(inputs, row, &mut scratch);
                        target.copy_from_slice(&scratch.0);
                        if self.normalize == Normalize::L2 {
                            let length = dot(target, target).sqrt().max(1e-12);
                            for x in target.iter_mut() {
                                *x /= length;
                            }
                        }
                    }
                });
            }
        });
        Ok(out)
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
    pub(crate) fn arrays(&self) -> Vec<&Vec<f32>> {
        let mut all: Vec<&Vec<f32>> = self.tables.iter().collect();
        for tower in [&self.query, &self.item] {
            all.extend(tower.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias]));
            all.extend(&tower.attention);
        }
        all
    }

    /// The same, to be changed.
    pub(crate) fn arrays_mut(&mut self) -> Vec<&mut Vec<f32>> {
        let mut all: Vec<&mut Vec<f32>> = self.tables.iter_mut().collect();
        for tower in [&mut self.query, &mut self.item] {
            let layers = tower.layers.iter_mut();
            all.extend(layers.flat_map(|layer| [&mut layer.weight, &mut layer.bias]));
            all.extend(&mut tower.attention);
        }
        all
    }
}
