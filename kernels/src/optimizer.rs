//! How weights follow gradients, and what a row that was not touched has missed.
//!
//! A row of a table holds its weights and then what the rule remembers of each: `[weights]`, `[weights | squares]` or
//! `[weights | first moments | second moments]`. A row without a gradient is not touched; before it is read again it is
//! brought to where the rule would have taken it with gradients of zero.

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
const EPSILON: f32 = 1e-8;
/// Steps after which a first moment has been forgotten: 0.9^150 is 1e-7.
const FORGOTTEN: usize = 150;

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

/// What a row has missed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Missed {
    /// `weights = keep * weights - push * first / (root of second + epsilon)`, and what is left of the moments.
    Closed {
        keep: f32,
        push: f32,
        first: f32,
        second: f32,
    },
    /// Every step has to be done.
    Replay,
}

impl Step {
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

    /// What a row has missed that has not made these steps.
    pub(crate) fn missed(&self, steps: &[Numbers]) -> Missed {
        let keep: f64 = match (self.rule, self.decay) {
            (_, Decay::None) => 1.0,
            (Rule::Sgd, Decay::Coupled(decay)) => steps.iter().map(|step| 1.0 - step.length * decay).product(),
            (_, Decay::Coupled(_)) => return Missed::Replay,
            (_, Decay::Decoupled(_)) => steps.iter().map(|step| step.keep).product(),
        };
        let Rule::Adam { beta1, beta2 } = self.rule else {
            return Missed::Closed {
                keep: keep as f32,
                push: 0.0,
                first: 1.0,
                second: 1.0,
            };
        };
        // Step i moves by its length times first * beta1^i / root of (second * beta2^i); what decay leaves of the move
        // depends on the steps after it.
        let (mut push, mut after, mut power) = (0.0, keep, 1.0);
        for step in steps.iter().take(FORGOTTEN) {
            after /= step.keep;
            power *= beta1 / beta2.sqrt();
            push += after * step.length / step.root * power;
        }
        let count = steps.len() as f64;
        Missed::Closed {
            keep: keep as f32,
            push: push as f32,
            first: beta1.powf(count) as f32,
            second: beta2.powf(count) as f32,
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
struct Adam {
    beta1: f32,
    beta2: f32,
    l2: f32,
    length: f32,
    root: f32,
    keep: f32,
}

impl Adam {
    #[inline(always)]
    fn new(beta1: f64, beta2: f64, l2: f32, numbers: &Numbers) -> Self {
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
    fn step(&self, (weight, first, second): (f32, f32, f32), gradient: f32) -> (f32, f32, f32) {
        let gradient = gradient + self.l2 * weight;
        let first = first * self.beta1 + (1.0 - self.beta1) * gradient;
        let second = second * self.beta2 + (1.0 - self.beta2) * gradient * gradient;
        let root = second.sqrt() * self.root + EPSILON;
        (weight * self.keep - self.length * first / root, first, second)
    }
}

#[inline(always)]
fn adagrad((weight, square): (f32, f32), gradient: f32, l2: f32, numbers: &Numbers) -> (f32, f32) {
    let gradient = gradient + l2 * weight;
    let square = square + gradient * gradient;
    (
        weight * numbers.keep as f32 - numbers.length as f32 * gradient / (square.sqrt() + EPSILON),
        square,
    )
}

by_isa! {
    /// Brings a row of `width` weights to where the missed steps would have taken it; `steps` are their numbers.
    pub(crate) fn catch_up(row: &mut [f32], width: usize, missed: &Missed, step: &Step, steps: &[Numbers]) = catch_up_row;
}

#[inline(always)]
fn catch_up_row(row: &mut [f32], width: usize, missed: &Missed, step: &Step, steps: &[Numbers]) {
    match (*missed, step.rule) {
        (
            Missed::Closed {
                keep,
                push,
                first: m,
                second: v,
            },
            Rule::Adam { .. },
        ) => {
            let (weights, moments) = row.split_at_mut(width);
            let (first, second) = moments.split_at_mut(width);
            let second = &mut second[..width];
            for place in 0..width {
                let move_by = push * first[place] / (second[place].sqrt() + EPSILON);
                weights[place] = keep * weights[place] - move_by;
                first[place] *= m;
                second[place] *= v;
            }
        }
        (Missed::Closed { keep, .. }, _) => row[..width].iter_mut().for_each(|weight| *weight *= keep),
        (Missed::Replay, rule) => {
            let l2 = if let Decay::Coupled(decay) = step.decay {
                decay as f32
            } else {
                0.0
            };
            match rule {
                Rule::Adam { beta1, beta2 } => replay_adam(row, width, (beta1, beta2, l2), steps),
                Rule::Adagrad | Rule::Sgd => {
                    let (weights, squares) = row.split_at_mut(width);
                    for (weight, square) in weights.iter_mut().zip(squares) {
                        for numbers in steps {
                            (*weight, *square) = adagrad((*weight, *square), 0.0, l2, numbers);
                        }
                    }
                }
            }
        }
    }
}

/// All missed steps of a few lanes before the next lanes, so that they stay in registers.
#[inline(always)]
fn replay_adam(row: &mut [f32], width: usize, (beta1, beta2, l2): (f64, f64, f32), steps: &[Numbers]) {
    const LANES: usize = 16;
    let (weights, moments) = row.split_at_mut(width);
    let (first, second) = moments.split_at_mut(width);
    for start in (0..width).step_by(LANES) {
        let count = LANES.min(width - start);
        let (mut w, mut m, mut v) = ([0.0_f32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
        w[..count].copy_from_slice(&weights[start..start + count]);
        m[..count].copy_from_slice(&first[start..start + count]);
        v[..count].copy_from_slice(&second[start..start + count]);
        for numbers in steps {
            let adam = Adam::new(beta1, beta2, l2, numbers);
            for lane in 0..LANES {
                (w[lane], m[lane], v[lane]) = adam.step((w[lane], m[lane], v[lane]), 0.0);
            }
        }
        weights[start..start + count].copy_from_slice(&w[..count]);
        first[start..start + count].copy_from_slice(&m[..count]);
        second[start..start + count].copy_from_slice(&v[..count]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Isa;

    fn all() -> Vec<Step> {
        let schedules = [
            Schedule {
                peak: 0.01,
                warm_up: 0,
                cosine: None,
            },
            Schedule {
                peak: 0.01,
                warm_up: 20,
                cosine: Some(400),
            },
        ];
        let decays = [Decay::None, Decay::Coupled(1e-3), Decay::Decoupled(0.05)];
        let rules = [
            Rule::Adam {
                beta1: 0.9,
                beta2: 0.999,
            },
            Rule::Adagrad,
            Rule::Sgd,
        ];
        let mut all = Vec::new();
        for schedule in schedules {
            for decay in decays {
                all.extend(rules.map(|rule| Step { rule, decay, schedule }));
            }
        }
        all
    }

    proptest! {
        #[test]
        fn catching_up_is_having_made_every_step(
            weights in proptest::collection::vec(-0.5_f32..0.5, 1..40), before in 1_u32..40, missed in 1_u32..300,
        ) {
            for step in all() {
                let width = weights.len();
                let mut row = weights.clone();
                row.resize(width * step.parts(), 0.0);
                for number in 1..=before {
                    let gradient: Vec<f32> = (0..width).map(|i| ((i + number as usize) % 7) as f32 * 0.01 - 0.02).collect();
                    update(Isa::PORTABLE, &mut row, &gradient, 1.0, &step, &step.numbers(number));
                }
                let mut dense = row.clone();
                for number in before + 1..=before + missed {
                    update(Isa::PORTABLE, &mut dense, &vec![0.0; width], 1.0, &step, &step.numbers(number));
                }
                let numbers: Vec<Numbers> = (before + 1..=before + missed).map(|n| step.numbers(n)).collect();
                let mut first: Option<Vec<u32>> = None;
                for isa in Isa::available() {
                    let mut lazy = row.clone();
                    catch_up(isa, &mut lazy, width, &step.missed(&numbers), &step, &numbers);
                    for (a, b) in lazy[..width].iter().zip(&dense[..width]) {
                        prop_assert!((a - b).abs() < 2e-5, "{:?} {:?} {} {}", step, isa, a, b);
                    }
                    let bits = lazy.iter().map(|x| x.to_bits()).collect();
                    prop_assert_eq!(first.get_or_insert_with(|| Vec::clone(&bits)), &bits);
                }
            }
        }
    }

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
