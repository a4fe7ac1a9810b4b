//! What a row that was not touched has missed: before it is read again it is brought to where the rule would have taken it
//! with gradients of zero.

use crate::isa::by_isa;
use crate::nn::optimizer::{Adam, Decay, EPSILON, Numbers, Rule, Step, adagrad};

/// Steps after which a first moment has been forgotten: 0.9^150 is 1e-7.
const FORGOTTEN: usize = 150;

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
    use crate::nn::optimizer::{Schedule, update};

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
}
