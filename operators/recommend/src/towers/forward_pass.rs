//! The forward pass of a tower, for training, encoding and evaluation.
//!
//! Pooled embeddings and numbers are concatenated, or added without layers; the dense layers follow, with the activation
//! function between them, then the normalisation. The operations that it is made of come in two kinds: those of training
//! are the fastest that the processor has, those of encoding sum in a fixed order, so that an encoding is the same to the
//! bit on every machine.

use std::ops::Range;

use towline_kernels::in_parallel;

use crate::towers::activation::Activation;
use crate::towers::tower_shape::{Normalize, TowerShape};

/// Rows that one thread pools: fixed, since it is only a matter of speed.
pub(crate) const ROWS: usize = 512;

/// Some columns of a row-major matrix.
pub(crate) struct Columns<'a> {
    /// All rows.
    pub(crate) rows: &'a mut [f32],
    /// From a row to the next.
    pub(crate) stride: usize,
    /// The first column.
    pub(crate) offset: usize,
}

/// The operations of a forward pass over a batch of rows.
pub(crate) trait TowerOps: Sync {
    /// Number of threads.
    fn threads(&self) -> usize;

    /// Pools the embeddings of column number `column` for these rows of the batch; with `add` on top of what is there.
    fn pool(&self, column: usize, rows: Range<usize>, out: Columns<'_>, add: bool);

    /// The values of column of numbers number `column` in a row of the batch.
    fn numbers(&self, column: usize, row: usize) -> &[f32];

    /// Dropout on the input of a layer.
    fn drop_out(&mut self, layer: usize, input: &mut [f32]);

    /// `output = activation(input weight^T + bias)`, [rows, inputs] to [rows, outputs].
    fn dense(&mut self, layer: usize, input: &[f32], output: &mut Vec<f32>, activation: Option<Activation>);

    /// Scales rows of this width to length 1.
    fn scale_to_length_one(&mut self, rows: &mut [f32], width: usize);
}

/// Leaves the concatenated inputs of so many rows in the first of `activations`, and the output of each layer in those that
/// follow.
pub(crate) fn forward<T: TowerOps>(
    shape: &TowerShape,
    normalize: Normalize,
    ops: &mut T,
    rows: usize,
    activations: &mut [Vec<f32>],
) {
    let width = shape.width();
    let Some(inputs) = activations.first_mut() else { return };
    inputs.resize(rows * width, 0.0);
    let parts = inputs.chunks_mut(ROWS * width).enumerate().collect();
    let shared = &*ops;
    in_parallel(shared.threads(), parts, |(index, part): (usize, &mut [f32])| {
        let first = index * ROWS;
        concatenate(shape, shared, first..first + part.len() / width, part);
    });
    let last = shape.layers.len().saturating_sub(1);
    for layer in 0..shape.layers.len() {
        let (before, after) = activations.split_at_mut(layer + 1);
        let (Some(input), Some(output)) = (before.last_mut(), after.first_mut()) else {
            return;
        };
        ops.drop_out(layer, input);
        let activation = (layer < last).then_some(shape.activation);
        ops.dense(layer, input, output, activation);
    }
    if let (Normalize::L2, Some(output)) = (normalize, activations.last_mut()) {
        ops.scale_to_length_one(output, shape.dim());
    }
}

/// The input of the first layer, for these rows of the batch.
fn concatenate<T: TowerOps>(shape: &TowerShape, ops: &T, rows: Range<usize>, out: &mut [f32]) {
    let stride = shape.width();
    let embeddings = shape.embeddings.len();
    for (place, (_, offset, width)) in shape.parts().into_iter().enumerate() {
        let Some(column) = place.checked_sub(embeddings) else {
            let out = Columns {
                rows: &mut *out,
                stride,
                offset,
            };
            ops.pool(place, rows.clone(), out, shape.adds() && place > 0);
            continue;
        };
        for (row, out) in rows.clone().zip(out.chunks_exact_mut(stride)) {
            out[offset..][..width].copy_from_slice(ops.numbers(column, row));
        }
    }
}
