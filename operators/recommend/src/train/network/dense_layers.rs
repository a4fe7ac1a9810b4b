//! Dense layers in training: forward pass, backward pass and optimizer step.

use towline_kernels::{Isa, Numbers, Step, add_bias, column_sums, in_parallel, update};

use crate::towers::activation::Activation;
use crate::towers::towers::Dense;
use crate::train::network::compute_backend::{ComputeBackend, RightBuffer};

/// Rows of a product that one thread works on: fixed, since it is only a matter of speed.
const ROWS: usize = 256;
/// Rows of the weights that one thread works on.
const PART: usize = 32;

/// A dense layer. Weights are followed by the moments of the optimizer.
#[derive(Debug)]
pub(crate) struct Layer {
    inputs: usize,
    outputs: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
    by_weight: Vec<f32>,
    by_bias: Vec<f32>,
    right: RightBuffer,
}

impl Layer {
    /// The layer with the weights of `dense`, and room for `parts` numbers per weight.
    pub(crate) fn new(dense: &Dense, parts: usize) -> Self {
        let (count, outputs) = (dense.weight.len(), dense.bias.len());
        let mut layer = Layer {
            inputs: count / outputs,
            outputs,
            weight: dense.weight.clone(),
            bias: dense.bias.clone(),
            by_weight: vec![0.0; count],
            by_bias: vec![0.0; outputs],
            right: RightBuffer::default(),
        };
        layer.weight.resize(count * parts, 0.0);
        layer.bias.resize(outputs * parts, 0.0);
        layer
    }

    /// Copies the weights back.
    pub(crate) fn download(&self, dense: &mut Dense) {
        let (count, outputs) = (dense.weight.len(), dense.bias.len());
        dense.weight.copy_from_slice(&self.weight[..count]);
        dense.bias.copy_from_slice(&self.bias[..outputs]);
    }

    /// Everything that the next step depends on: weights and bias, each with what the optimizer remembers.
    pub(crate) fn state(&self) -> [&[f32]; 2] {
        [&self.weight, &self.bias]
    }

    /// The places of [`Layer::state`].
    pub(crate) fn state_mut(&mut self) -> [&mut [f32]; 2] {
        [&mut self.weight, &mut self.bias]
    }

    /// `output = activation(input weight^T + bias)`, [rows, inputs] to [rows, outputs].
    pub(crate) fn forward(
        &mut self,
        on: ComputeBackend,
        input: &[f32],
        output: &mut Vec<f32>,
        activation: Option<Activation>,
    ) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let weight = on.right_transposed(&self.weight, (inputs, outputs), &mut self.right);
        output.resize(input.len() / inputs * outputs, 0.0);
        let bias = &self.bias[..outputs];
        let work = |(input, output): (&[f32], &mut [f32])| {
            weight.after_rows(on.isa, input, inputs, output);
            add_bias(on.isa, output, bias);
            if let Some(activation) = activation {
                activation.apply(on.isa, output);
            }
        };
        let parts = input.chunks(ROWS * inputs).zip(output.chunks_mut(ROWS * outputs));
        in_parallel(on.threads, parts.collect(), work);
    }

    /// Backward pass: from the gradient with respect to the output to those with respect to the weights, which are kept, and
    /// the input. After an activation `output` is its output divided by the number beside it.
    pub(crate) fn backward(
        &mut self,
        on: ComputeBackend,
        input: &[f32],
        output: &[f32],
        gradient: &mut Vec<f32>,
        activation: Option<(Activation, f32)>,
    ) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let rows = input.len() / inputs;
        if let Some((activation, keep)) = activation {
            activation.backward(on.isa, gradient, output, keep);
        }
        self.by_bias.fill(0.0);
        column_sums(on.isa, gradient, &mut self.by_bias);
        let upstream = &*gradient;
        let right = on.right(input, (rows, inputs), &mut self.right);
        let work = |(index, part): (usize, &mut [f32])| {
            right.after_columns(on.isa, &upstream[index * PART..], outputs, part);
        };
        let parts = self.by_weight.chunks_mut(PART * inputs).enumerate();
        in_parallel(on.threads, parts.collect(), work);
        let mut by_input = vec![0.0; rows * inputs];
        let right = on.right(&self.weight[..outputs * inputs], (outputs, inputs), &mut self.right);
        let work = |(upstream, by_input): (&[f32], &mut [f32])| {
            right.after_rows(on.isa, upstream, outputs, by_input);
        };
        let parts = upstream.chunks(ROWS * outputs).zip(by_input.chunks_mut(ROWS * inputs));
        in_parallel(on.threads, parts.collect(), work);
        *gradient = by_input;
    }

    /// The sum of the squares of the gradients.
    pub(crate) fn square(&self) -> f64 {
        self.by_weight
            .iter()
            .chain(&self.by_bias)
            .map(|x| f64::from(*x).powi(2))
            .sum()
    }

    /// Optimizer step with gradients times `scale`.
    pub(crate) fn apply(&mut self, isa: Isa, scale: f32, step: &Step, numbers: &Numbers) {
        update(isa, &mut self.weight, &self.by_weight, scale, step, numbers);
        update(isa, &mut self.bias, &self.by_bias, scale, step, numbers);
    }
}
