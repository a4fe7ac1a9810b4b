//! The numbers of the bound that the module's documentation proves.

use super::LANES;
use crate::isa::by_isa;

/// A little more than 1: what is computed in `f64` and multiplied by it is not below the true value.
pub(crate) const UP: f64 = 1.0 + 1.0 / (1_u64 << 30) as f64;
/// The share of `|T| + E` that is taken off the limit.
const SLACK: f64 = 1.0 / (1_u64 << 48) as f64;
/// Beyond this product of lengths terms may leave the range of `f32`.
pub(crate) const LONGEST: f64 = 1e38;

/// `γ(n)`
fn gamma(n: usize) -> f64 {
    let error = n as f64 / (1_u64 << 24) as f64;
    error / (1.0 - error)
}

/// The error of the canonical product, as a share of the lengths.
pub(crate) fn canonical(dim: usize) -> f64 {
    gamma(dim.div_ceil(16) + 5) * UP
}

/// The same for a sum of one term after the other.
pub(crate) fn sequential(dim: usize) -> f64 {
    gamma(dim + 1) * UP
}

/// What subnormal products can add: `τ`.
pub(crate) fn underflow(dim: usize) -> f64 {
    dim as f64 * f64::from(f32::from_bits(1))
}

/// The length of a vector, rounded up.
pub(crate) fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() * UP
}

/// What a block says about all of its items.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BlockFacts {
    /// The greatest length, `N`.
    pub(crate) length: f64,
    /// The scale, `t`.
    pub(crate) scale: f64,
    /// The greatest length of what rounding took away, `D`.
    pub(crate) rounded: f64,
}

/// What is known of the users of a tile, lane by lane.
#[derive(Debug, Clone)]
pub(crate) struct LaneFacts {
    /// What the k-th best score is known to reach, `T`.
    pub(crate) floor: [f32; LANES],
    /// Times the block's `N`: the greatest score that is possible.
    pub(crate) reach: [f64; LANES],
    /// Times the block's `D`: a part of `E`.
    pub(crate) by_rounded: [f64; LANES],
    /// Times the block's `N`: a part of `E`.
    pub(crate) by_length: [f64; LANES],
    /// The rest of `E`.
    pub(crate) underflow: f64,
    /// The scale, `s`.
    pub(crate) scale: [f64; LANES],
    /// What the offset of the items' bytes adds to every sum.
    pub(crate) offset: [i32; LANES],
    /// Whether there is a user who is served by proposals.
    pub(crate) used: [bool; LANES],
}

impl LaneFacts {
    pub(crate) fn new(underflow: f64) -> Self {
        LaneFacts {
            floor: [f32::NEG_INFINITY; LANES],
            reach: [0.0; LANES],
            by_rounded: [0.0; LANES],
            by_length: [0.0; LANES],
            underflow,
            scale: [1.0; LANES],
            offset: [0; LANES],
            used: [false; LANES],
        }
    }

    /// Whether an item of this block, or a shorter one, could still be among the best of any user.
    pub(crate) fn within_reach(&self, block: &BlockFacts) -> bool {
        (0..LANES).any(|lane| {
            self.used[lane] && self.reach[lane] * block.length + self.underflow >= f64::from(self.floor[lane])
        })
    }

    /// `E` of a lane.
    #[inline(always)]
    fn error(&self, block: &BlockFacts, lane: usize) -> f64 {
        (self.by_rounded[lane] * block.rounded + self.by_length[lane] * block.length + self.underflow) * UP
    }

    /// A score that an item certainly reaches whose proposal in `f32` is `value`.
    pub(crate) fn guaranteed(&self, block: &BlockFacts, lane: usize, value: f32) -> f32 {
        lowered(f64::from(value), self.error(block, lane))
    }

    /// The same for a proposal in `i8`.
    pub(crate) fn guaranteed_i8(&self, block: &BlockFacts, lane: usize, value: i32) -> f32 {
        let sum = i64::from(value) - i64::from(self.offset[lane]);
        lowered(sum as f64 * self.scale[lane] * block.scale, self.error(block, lane))
    }
}

#[inline(always)]
fn lowered(value: f64, error: f64) -> f32 {
    let limit = value - error - (value.abs() + error) * SLACK;
    (limit as f32).next_down()
}

by_isa! {
    /// The limits of a block in `f32`: an item is proposed if its value is not below.
    pub(crate) fn limits(lanes: &LaneFacts, block: &BlockFacts, limits: &mut [f32; LANES]) = limits_body;
}

#[inline(always)]
fn limits_body(lanes: &LaneFacts, block: &BlockFacts, limits: &mut [f32; LANES]) {
    for (lane, limit) in limits.iter_mut().enumerate() {
        *limit = if lanes.used[lane] {
            lowered(f64::from(lanes.floor[lane]), lanes.error(block, lane))
        } else {
            // Nothing is at or above it, infinite values of users that are not served here included.
            f32::NAN
        };
    }
}

by_isa! {
    /// The limits of a block in `i8`: an item is proposed if its sum, offset included, is above.
    pub(crate) fn limits_i8(lanes: &LaneFacts, block: &BlockFacts, limits: &mut [i32; LANES]) = limits_i8_body;
}

#[inline(always)]
fn limits_i8_body(lanes: &LaneFacts, block: &BlockFacts, limits: &mut [i32; LANES]) {
    /// Sums are within `2^29`: as good as no limit, and one that nothing reaches, with room for the offset.
    const NONE: f64 = -1_610_612_736.0;
    for (lane, target) in limits.iter_mut().enumerate() {
        let (floor, error) = (f64::from(lanes.floor[lane]), lanes.error(block, lane));
        let limit = floor - error - (floor.abs() + error) * SLACK;
        let sum = (limit / (lanes.scale[lane] * block.scale)).floor() - 1.0;
        let sum = sum.clamp(NONE, -NONE) as i32;
        *target = if lanes.used[lane] {
            sum + lanes.offset[lane]
        } else {
            i32::MAX
        };
    }
}
