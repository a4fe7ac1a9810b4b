//! Activation functions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use towline_kernels::{Isa, relu, relu_backward};

/// Activation function between hidden layers; the derivative of each is a function of its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x`, and `0.01 x` below zero (Maas, Hannun and Ng 2013, "Rectifier nonlinearities improve neural network acoustic
    /// models").
    LeakyRelu,
    /// `x`, and `exp(x) - 1` below zero (Clevert, Unterthiner and Hochreiter 2016, "Fast and accurate deep network learning
    /// by exponential linear units").
    Elu,
    /// The hyperbolic tangent.
    Tanh,
}

/// The slope of [`Activation::LeakyRelu`] below zero.
const LEAK: f32 = 0.01;

impl Activation {
    /// Whether it is the default, which descriptions of models leave out.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Activation::default()
    }

    /// Its value.
    pub(crate) fn of(self, x: f32) -> f32 {
        match self {
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu => x.max(LEAK * x),
            Activation::Elu if x < 0.0 => x.exp_m1(),
            Activation::Elu => x,
            Activation::Tanh => x.tanh(),
        }
    }

    /// Its value of every number of `rows`.
    pub(crate) fn apply(self, isa: Isa, rows: &mut [f32]) {
        if self == Activation::Relu {
            return relu(isa, rows);
        }
        for x in rows {
            *x = self.of(*x);
        }
    }

    /// From the gradient by its output to that by its input. `output` is its output divided by `keep`, or zero where dropout
    /// took it away, and with it the gradient.
    pub(crate) fn backward(self, isa: Isa, gradient: &mut [f32], output: &[f32], keep: f32) {
        let slope: fn(f32) -> f32 = match self {
            Activation::Relu => return relu_backward(isa, gradient, output),
            Activation::LeakyRelu => |y| if y > 0.0 { 1.0 } else { LEAK },
            Activation::Elu => |y| if y > 0.0 { 1.0 } else { 1.0 + y },
            Activation::Tanh => |y| 1.0 - y * y,
        };
        for (gradient, y) in gradient.iter_mut().zip(output) {
            *gradient *= slope(y * keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_values() {
        let all = [
            Activation::Relu,
            Activation::LeakyRelu,
            Activation::Elu,
            Activation::Tanh,
        ];
        for (activation, x) in all
            .into_iter()
            .flat_map(|all| [(all, -1.3_f32), (all, -0.2), (all, 0.4), (all, 2.0)])
        {
            let step = 1e-2;
            let expected = (activation.of(x + step) - activation.of(x - step)) / (2.0 * step);
            for keep in [1.0, 0.8] {
                let mut gradient = [1.0];
                activation.backward(Isa::best(), &mut gradient, &[activation.of(x) / keep], keep);
                assert!(
                    (gradient[0] - expected).abs() < 1e-3,
                    "{activation:?} at {x}: {gradient:?} {expected}"
                );
            }
            let mut row = [x];
            activation.apply(Isa::best(), &mut row);
            assert_eq!(row[0], activation.of(x));
        }
    }
}
