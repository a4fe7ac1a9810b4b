//! The rules of the optimizer on tensors of libtorch: every weight makes every step.

use tch::{Device, TchError, Tensor, no_grad};
use towline_kernels::{Decay, Numbers, Rule, Step};

/// Guard against a division by zero, as in PyTorch.
const EPSILON: f64 = 1e-8;

/// Weights that learn, with what the rule remembers of them.
#[derive(Debug)]
pub(crate) struct Variable {
    /// The weights.
    pub(crate) weights: Tensor,
    memory: Vec<Tensor>,
}

impl Variable {
    /// Weights of this shape on a device; `parts` numbers are kept of each, itself among them.
    pub(crate) fn new(values: &[f32], shape: &[i64], parts: usize, device: Device) -> Result<Self, TchError> {
        let weights = Tensor::f_from_slice(values)?.f_view(shape)?.f_to_device(device)?;
        let memory = (1..parts).map(|_| weights.f_zeros_like());
        Ok(Variable {
            memory: memory.collect::<Result<_, _>>()?,
            weights: weights.f_set_requires_grad(true)?,
        })
    }

    /// The gradient; none of a weight that no loss depends on.
    fn gradient(&self) -> Result<Tensor, TchError> {
        let gradient = self.weights.f_grad()?;
        if gradient.defined() {
            Ok(gradient)
        } else {
            self.weights.f_zeros_like()
        }
    }

    /// Forgets the gradient.
    pub(crate) fn reset(&mut self) -> Result<(), TchError> {
        let mut gradient = self.weights.f_grad()?;
        if gradient.defined() {
            let _ = gradient.f_detach_()?.f_zero_()?;
        }
        Ok(())
    }

    /// The sum of the squares of the gradient, a tensor without dimensions.
    pub(crate) fn square(&self) -> Result<Tensor, TchError> {
        self.gradient()?.f_square()?.f_sum(tch::Kind::Double)
    }

    /// One step along the gradient times `scale`.
    pub(crate) fn apply(&mut self, scale: f64, step: &Step, numbers: &Numbers) -> Result<(), TchError> {
        no_grad(|| {
            let mut gradient = self.gradient()?.f_mul_scalar(scale)?;
            if let Decay::Coupled(decay) = step.decay {
                gradient = gradient.f_add(&self.weights.f_mul_scalar(decay)?)?;
            }
            let moved = match (step.rule, self.memory.as_mut_slice()) {
                (Rule::Adam { beta1, beta2 }, [first, second]) => {
                    let new = first.f_mul_scalar(beta1)?;
                    first.f_copy_(&new.f_add(&gradient.f_mul_scalar(1.0 - beta1)?)?)?;
                    let new = second.f_mul_scalar(beta2)?;
                    second.f_copy_(&new.f_add(&gradient.f_square()?.f_mul_scalar(1.0 - beta2)?)?)?;
                    let root = second.f_sqrt()?.f_mul_scalar(numbers.root)?.f_add_scalar(EPSILON)?;
                    first.f_div(&root)?
                }
                (Rule::Adagrad, [squares]) => {
                    let new = squares.f_add(&gradient.f_square()?)?;
                    squares.f_copy_(&new)?;
                    gradient.f_div(&squares.f_sqrt()?.f_add_scalar(EPSILON)?)?
                }
                _ => gradient,
            };
            let kept = self.weights.f_mul_scalar(numbers.keep)?;
            let new = kept.f_sub(&moved.f_mul_scalar(numbers.length)?)?;
            self.weights.f_copy_(&new)?;
            Ok(())
        })
    }

    /// Cuts the weights off above `most`.
    pub(crate) fn at_most(&mut self, most: f64) -> Result<(), TchError> {
        no_grad(|| {
            let cut = self.weights.f_clamp_max(most)?;
            self.weights.f_copy_(&cut)?;
            Ok(())
        })
    }

    /// Weights, then what the rule remembers, each as long as the weights.
    pub(crate) fn state(&self) -> Result<Vec<f32>, TchError> {
        let mut all = Vec::new();
        for tensor in std::iter::once(&self.weights).chain(&self.memory) {
            all.extend(values(tensor)?);
        }
        Ok(all)
    }

    /// How many numbers [`Variable::state`] has.
    pub(crate) fn size(&self) -> usize {
        self.weights.numel() * (1 + self.memory.len())
    }

    /// Takes up where [`Variable::state`] was written down.
    pub(crate) fn restore(&mut self, state: &[f32]) -> Result<(), TchError> {
        let (count, shape) = (self.weights.numel(), self.weights.size());
        no_grad(|| {
            let tensors = std::iter::once(&mut self.weights).chain(&mut self.memory);
            for (tensor, values) in tensors.zip(state.chunks(count.max(1))) {
                tensor.f_copy_(&Tensor::f_from_slice(values)?.f_view(shape.as_slice())?)?;
            }
            Ok(())
        })
    }
}

/// The numbers of a tensor, row-major.
pub(crate) fn values(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    let flat = tensor
        .f_detach()?
        .f_to_device(Device::Cpu)?
        .f_contiguous()?
        .f_view([-1_i64])?;
    Vec::<f32>::try_from(&flat)
}
