//! How weights follow gradients.
//!
//! A row of a table holds its weights and then what the rule remembers of each: `[weights]`, `[weights | squares]` or
//! `[weights | first moments | second moments]`. A row without a gradient is not touched.

use crate::isa::by_isa;

/// The rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Adam (Kingma and Ba 2015).
    Adam {
        /// How fast the first moment forgets.
        beta1: f64,
        /// How fast the second moment forgets.
        beta2: f64,
    },
    /// Adagrad (Duchi, Hazan and Singer 2011).
    Adagrad,
    /// Plain stochastic gradient descent.
    Sgd,
}

/// How weights shrink.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// Not at all.
    None,
    /// By a term of the gradient: `gradient += rate * weight`, L2 regularisation.
    Coupled(f64),
    /// Apart from the gradient: `weight -= learning rate * rate * weight` (Loshchilov and Hutter 2019).
    Decoupled(f64),
}

/// How the learning rate changes over the steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// Steps over which it rises from 0.
    pub warm_up: u32,
    /// Steps after which a cosine has brought it to 0; constant if there are none.
    pub cosine: Option<u32>,
}

impl Schedule {
    /// The rate at a step, counted from 1.
    pub fn at(&self, step: u32) -> f64 {
        let rise = if self.warm_up > 0 {
            (f64::from(step) / f64::from(self.warm_up)).min(1.0)
        } else {
            1.0
        };
        let fall = self.cosine.map_or(1.0, |steps| {
            let length = f64::from(steps.saturating_sub(self.warm_up).max(1));
            let done = (f64::from(step.saturating_sub(self.warm_up)) / length).min(1.0);
            0.5 * (1.0 + (std::f64::consts::PI * done).cos())
        });
        self.peak * rise * fall
    }
}

/// Adam's and Adagrad's guard against a division by zero, as in PyTorch.
pub(crate) const EPSILON: f32 = 1e-8;

/// A rule with everything that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// How weights shrink.
    pub decay: Decay,
    /// The learning rate.
    pub schedule: Schedule,
}

/// The numbers of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers {
    /// Length of the step, Adam's correction of the first moment's bias included.
    pub length: f64,
    /// Adam's correction of the second moment's bias: its root is multiplied by this.
    pub root: f64,
    /// What decoupled decay leaves of a weight.
    pub keep: f64,
}

impl Step {
    /// The same, of a weight that does not shrink.
    #[must_use]
    pub fn without_decay(self) -> Self {
        Step {
            decay: Decay::None,
            ..self
        }
    }

    /// How many numbers a row holds per weight.
    pub fn parts(&self) -> usize {
        match self.rule {
            Rule::Adam { .. } => 3,
            Rule::Adagrad => 2,
            Rule::Sgd => 1,
        }
    }

    /// The numbers of a step, counted from 1.
    pub fn numbers(&self, step: u32) -> Numbers {
        let rate = self.schedule.at(step);
        let keep = if let Decay::Decoupled(decay) = self.decay {
            1.0 - rate * decay
        } else {
            1.0
        };
        match self.rule {
            Rule::Adam { beta1, beta2 } => {
                let step = f64::from(step);
                Numbers {
                    length: rate / (1.0 - beta1.powf(step)),
                    root: 1.0 / (1.0 - beta2.powf(step)).sqrt(),
                    keep,
                }
            }
            Rule::Adagrad | Rule::Sgd => Numbers {
                length: rate,
                root: 1.0,
                keep,
            },
        }
    }
}

by_isa! {
    /// One step of a row with its gradient, which is multiplied by `scale` first.
    ///
    /// # Panics
    /// If the row is not as long as the rule asks for a gradient of this length.
    pub fn update(row: &mut [f32], gradient: &[f32], scale: f32, step: &Step, numbers: &Numbers) = update_row;
}

#[inline(always)]
fn update_row(row: &mut [f32], gradient: &[f32], scale: f32, step: &Step, numbers: &Numbers) {
    let width = gradient.len();
    let l2 = if let Decay::Coupled(decay) = step.decay {
        decay as f32
    } else {
        0.0
    };
    match step.rule {
        Rule::Adam { beta1, beta2 } => {
            let (weights, moments) = row.split_at_mut(width);
            let (first, second) = moments.split_at_mut(width);
            let constants = Adam::new(beta1, beta2, l2, numbers);
            let second = &mut second[..width];
            for place in 0..width {
                let at = (weights[place], first[place], second[place]);
                (weights[place], first[place], second[place]) = constants.step(at, gradient[place] * scale);
            }
        }
        Rule::Adagrad => {
            let (weights, squares) = row.split_at_mut(width);
            let squares = &mut squares[..width];
            for place in 0..width {
                let at = (weights[place], squares[place]);
                (weights[place], squares[place]) = adagrad(at, gradient[place] * scale, l2, numbers);
            }
        }
        Rule::Sgd => {
            let (keep, length) = (numbers.keep as f32, numbers.length as f32);
            for (weight, gradient) in row[..width].iter_mut().zip(gradient) {
                *weight = *weight * keep - length * (gradient * scale + l2 * *weight);
            }
        }
    }
}

/// Adam's constants in single precision.
#[derive(Clone, Copy)]
pub(crate) struct Adam {
    beta1: f32,
    beta2: f32,
    l2: f32,
    length: f32,
    root: f32,
    keep: f32,
}

impl Adam {
    #[inline(always)]
    pub(crate) fn new(beta1: f64, beta2: f64, l2: f32, numbers: &Numbers) -> Self {
        Adam {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            l2,
            length: numbers.length as f32,
            root: numbers.root as f32,
            keep: numbers.keep as f32,
        }
    }

    #[inline(always)]
    pub(crate) fn step(&self, (weight, first, second): (f32, f32, f32), gradient: f32) -> (f32, f32, f32) {
        let gradient = gradient + self.l2 * weight;
        let first = first * self.beta1 + (1.0 - self.beta1) * gradient;
        let second = second * self.beta2 + (1.0 - self.beta2) * gradient * gradient;
        let root = second.sqrt() * self.root + EPSILON;
        (weight * self.keep - self.length * first / root, first, second)
    }
}

#[inline(always)]
pub(crate) fn adagrad((weight, square): (f32, f32), gradient: f32, l2: f32, numbers: &Numbers) -> (f32, f32) {
    let gradient = gradient + l2 * weight;
    let square = square + gradient * gradient;
    (
        weight * numbers.keep as f32 - numbers.length as f32 * gradient / (square.sqrt() + EPSILON),
        square,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn adam_makes_the_steps_of_the_paper() {
        let schedule = Schedule {
            peak: 0.1,
            warm_up: 0,
            cosine: None,
        };
        let step = Step {
            rule: Rule::Adam {
                beta1: 0.9,
                beta2: 0.999,
            },
            decay: Decay::None,
            schedule,
        };
        let mut row = vec![1.0, 0.0, 0.0];
        // With bias corrected moments the first step is as long as the learning rate, whatever the gradient.
        update(Isa::best(), &mut row, &[0.3], 1.0, &step, &step.numbers(1));
        assert!((row[0] - 0.9).abs() < 1e-6 && (row[1] - 0.03).abs() < 1e-7 && (row[2] - 0.000_09).abs() < 1e-8);
    }

    #[test]
    fn a_schedule_rises_and_falls() {
        let schedule = Schedule {
            peak: 2.0,
            warm_up: 10,
            cosine: Some(110),
        };
        assert!((schedule.at(5) - 1.0).abs() < 1e-12);
        assert!((schedule.at(10) - 2.0).abs() < 1e-12);
        assert!((schedule.at(60) - 1.0).abs() < 1e-12);
        assert!(schedule.at(110).abs() < 1e-12 && schedule.at(500).abs() < 1e-12);
    }
}
