//! Encoding: embeddings of rows by trained towers, with operations of a fixed order.

use std::ops::Range;

use crate::data::dense_features::DenseFeatures;
use crate::data::feature_column::IdFeatures;
use crate::data::feature_table::FeatureTable;
use crate::towers::Side;
use crate::towers::activation::Activation;
use crate::towers::forward_pass::{Columns, ROWS, TowerOps, forward};
use crate::towers::scoring::{dot, shards};
use crate::towers::tower_shape::Pool;
use crate::towers::towers::{Tower, Towers};
use towline_api::{PADDING_ID, Result};

/// Operations whose sums have one order: the same bits on every machine.
struct FixedOrder<'a> {
    tower: &'a Tower,
    inputs: &'a Inputs<'a>,
    /// The first row of the batch in the table.
    first: usize,
}

/// The columns that a tower reads.
struct Inputs<'a> {
    /// The embedding table and the ids of each column with embeddings.
    ids: Vec<(&'a [f32], &'a IdFeatures)>,
    numbers: Vec<&'a DenseFeatures>,
}

impl TowerOps for FixedOrder<'_> {
    /// The rows of a table are divided among threads already.
    fn threads(&self) -> usize {
        1
    }

    fn pool(&self, column: usize, rows: Range<usize>, out: Columns<'_>, add: bool) {
        let ((table, ids), shape) = (self.inputs.ids[column], &self.tower.shape.embeddings[column]);
        let query = &self.tower.attention[column];
        let mut pooled = vec![0.0; shape.dim];
        for (row, target) in rows.zip(out.rows.chunks_exact_mut(out.stride)) {
            pooled.fill(0.0);
            let ids = ids.row(self.first + row);
            match shape.pooling {
                Pool::Attention => attend(table, ids, query, &mut pooled),
                pooling => pool_row(table, ids, pooling, &mut pooled),
            }
            let target = &mut target[out.offset..][..shape.dim];
            if !add {
                target.fill(0.0);
            }
            target.iter_mut().zip(&pooled).for_each(|(sum, x)| *sum += x);
        }
    }

    fn numbers(&self, column: usize, row: usize) -> &[f32] {
        self.inputs.numbers[column].row(self.first + row)
    }

    fn drop_out(&mut self, _: usize, _: &mut [f32]) {}

    fn dense(&mut self, layer: usize, input: &[f32], output: &mut Vec<f32>, activation: Option<Activation>) {
        let layer = &self.tower.layers[layer];
        let inputs = layer.weight.len() / layer.bias.len();
        output.clear();
        for row in input.chunks_exact(inputs) {
            output.extend(
                layer
                    .weight
                    .chunks_exact(inputs)
                    .zip(&layer.bias)
                    .map(|(weights, bias)| {
                        let value = dot(weights, row) + bias;
                        activation.map_or(value, |activation| activation.of(value))
                    }),
            );
        }
    }

    fn scale_to_length_one(&mut self, rows: &mut [f32], width: usize) {
        for row in rows.chunks_exact_mut(width) {
            let length = dot(row, row).sqrt().max(1e-12);
            for x in row {
                *x /= length;
            }
        }
    }
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

/// Attention pooling of the rows of `ids` without padding: weights are the softmax of the products with `query`; `out` is
/// zero before.
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
                scope.spawn(move || self.embed_shard(tower, inputs, range.start, part));
            }
        });
        Ok(out)
    }

    /// The embeddings of the rows from `first` on; `out` is as long as there are rows.
    fn embed_shard(&self, tower: &Tower, inputs: &Inputs<'_>, first: usize, out: &mut [f32]) {
        let dim = tower.shape.dim();
        let mut activations = vec![Vec::new(); tower.layers.len() + 1];
        for (block, out) in out.chunks_mut(ROWS * dim).enumerate() {
            let first = first + block * ROWS;
            let mut ops = FixedOrder { tower, inputs, first };
            forward(
                &tower.shape,
                self.normalize,
                &mut ops,
                out.len() / dim,
                &mut activations,
            );
            if let Some(output) = activations.last() {
                out.copy_from_slice(output);
            }
        }
    }
}
