//! Dropout (Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting").

use towline_kernels::{in_parallel, mixed};

/// Numbers that one thread works on: fixed, since it is only a matter of speed.
const PART: usize = 1 << 16;

/// Dropout with a probability and a seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    share: f64,
    seed: u64,
}

/// The dropout mask of one step of one tower. Each factor is a function of its index alone: the same on any number of
/// threads, on every device, and in the backward pass.
#[derive(Debug, Clone, Copy)]
pub struct DropoutMask {
    share: f64,
    key: u64,
}

impl Dropout {
    /// Dropout of this probability, from 0 and below 1; `None` for 0.
    pub(crate) fn new(share: f64, seed: u64) -> Option<Self> {
        (share > 0.0).then_some(Dropout { share, seed })
    }

    /// The mask of tower number `tower` in step number `step`.
    pub fn of(self, step: usize, tower: u64) -> DropoutMask {
        DropoutMask {
            share: self.share,
            key: mixed(mixed(self.seed ^ 0x6472_6f70_6f75_7421) ^ (2 * step as u64 + tower)),
        }
    }
}

impl DropoutMask {
    /// Probability that a number is kept.
    pub(crate) fn keep(self) -> f32 {
        (1.0 - self.share) as f32
    }

    /// Factor of the number at index `place` of the input of layer `layer`: 0, or `1 / keep`.
    fn factor(self, layer: usize, place: usize) -> f32 {
        let chance = mixed(self.key ^ mixed((layer as u64) << 48 | place as u64)) >> 11;
        if (chance as f64) < self.share * (1_u64 << 53) as f64 {
            0.0
        } else {
            1.0 / self.keep()
        }
    }

    /// Applies the mask to the input of a layer, or to the gradient with respect to it.
    pub(crate) fn apply(self, threads: usize, layer: usize, values: &mut [f32]) {
        let work = |(index, part): (usize, &mut [f32])| {
            for (place, x) in part.iter_mut().enumerate() {
                *x *= self.factor(layer, index * PART + place);
            }
        };
        in_parallel(threads, values.chunks_mut(PART).enumerate().collect(), work);
    }

    /// The factors of the first `count` numbers of the input of a layer.
    pub fn factors(self, layer: usize, count: usize) -> Vec<f32> {
        (0..count).map(|place| self.factor(layer, place)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_left_out_the_rest_makes_up_for_it_and_threads_do_not_matter() {
        let dropout = Dropout::new(0.25, 7).unwrap();
        let left = |step, tower, layer, threads| {
            let mut values = vec![1.0_f32; 3 * PART + 5];
            dropout.of(step, tower).apply(threads, layer, &mut values);
            values
        };
        let values = left(3, 0, 1, 1);
        let gone = values.iter().filter(|x| **x == 0.0).count() as f64 / values.len() as f64;
        assert!((gone - 0.25).abs() < 0.005, "{gone}");
        assert!(values.iter().all(|x| *x == 0.0 || (*x - 4.0 / 3.0).abs() < 1e-6));
        assert_eq!(values, left(3, 0, 1, 4));
        for other in [left(4, 0, 1, 1), left(3, 1, 1, 1), left(3, 0, 0, 1)] {
            let alike = values.iter().zip(&other).filter(|(a, b)| a == b).count() as f64 / values.len() as f64;
            assert!(
                (alike - 0.625).abs() < 0.01,
                "draws of other places are others: {alike}"
            );
        }
        assert_eq!(Dropout::new(0.0, 7), None);
    }
}
