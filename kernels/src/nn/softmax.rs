//! The softmax of a row of scores and its gradient, in place.

use crate::isa::by_isa;

/// Lanes that are worked on together.
const LANES: usize = 16;

by_isa! {
    /// Turns a row of scores into the gradient of its cross-entropy, and returns the cross-entropy.
    ///
    /// The logits are `row * scale - log_q`, but for places whose bit in `mask` is set: those take no part. The place
    /// `target.0` always does, with `target.1` in place of its `log_q`. Afterwards `row` holds `(softmax(logits) - [place == target.0]) * weight`; the loss comes without the
    /// weight. A NaN in the row makes the loss NaN.
    ///
    /// # Panics
    /// If `log_q` is shorter than the row, `mask` has fewer bits than it, or `target.0` is outside of it.
    pub fn softmax_gradient(
        row: &mut [f32],
        scale: f32,
        log_q: &[f32],
        mask: &[u64],
        target: (usize, f32),
        weight: f32,
    ) -> f32 = gradient;
}

#[inline(always)]
fn gradient(row: &mut [f32], scale: f32, log_q: &[f32], mask: &[u64], (target, own): (usize, f32), weight: f32) -> f32 {
    let log_q = &log_q[..row.len()];
    assert!(mask.len() * 64 >= row.len(), "`mask` is too short");
    let wanted = row[target] * scale - own;
    let mut highest = [f32::NEG_INFINITY; LANES];
    // NaN is neither more nor less than anything; times zero it is still NaN.
    let mut broken = [0.0_f32; LANES];
    let (parts, rest) = row.as_chunks_mut::<LANES>();
    let (log_qs, log_q_rest) = log_q.as_chunks::<LANES>();
    for (index, (part, log_q)) in parts.iter_mut().zip(log_qs).enumerate() {
        logits(part, log_q, scale, bits(mask, index), &mut highest, &mut broken);
    }
    // The last few places, filled up with places that are masked.
    let (mut last, mut last_log_q) = ([0.0; LANES], [0.0; LANES]);
    last[..rest.len()].copy_from_slice(rest);
    last_log_q[..rest.len()].copy_from_slice(log_q_rest);
    if !rest.is_empty() {
        let bits = bits(mask, parts.len()) | (u16::MAX << rest.len());
        logits(&mut last, &last_log_q, scale, bits, &mut highest, &mut broken);
        rest.copy_from_slice(&last[..rest.len()]);
    }
    row[target] = wanted;
    let highest = highest.into_iter().fold(wanted, f32::max);
    let mut sums = [0.0_f32; LANES];
    let (parts, rest) = row.as_chunks_mut::<LANES>();
    for part in parts.iter_mut() {
        exponentials(part, highest, &mut sums);
    }
    last = [f32::NEG_INFINITY; LANES];
    last[..rest.len()].copy_from_slice(rest);
    exponentials(&mut last, highest, &mut sums);
    rest.copy_from_slice(&last[..rest.len()]);
    let sum = fold(sums);
    let factor = weight / sum;
    for x in row.iter_mut() {
        *x *= factor;
    }
    row[target] -= weight;
    sum.ln() + highest - wanted + fold(broken)
}

/// The mask of 16 places.
#[inline(always)]
fn bits(mask: &[u64], index: usize) -> u16 {
    (mask[index / 4] >> (16 * (index % 4))) as u16
}

#[inline(always)]
fn logits(
    part: &mut [f32; LANES],
    log_q: &[f32; LANES],
    scale: f32,
    bits: u16,
    highest: &mut [f32; LANES],
    broken: &mut [f32; LANES],
) {
    for lane in 0..LANES {
        let logit = part[lane] * scale - log_q[lane];
        broken[lane] += logit * 0.0;
        let logit = if bits & (1 << lane) == 0 {
            logit
        } else {
            f32::NEG_INFINITY
        };
        part[lane] = logit;
        highest[lane] = if logit > highest[lane] { logit } else { highest[lane] };
    }
}

#[inline(always)]
fn exponentials(part: &mut [f32; LANES], highest: f32, sums: &mut [f32; LANES]) {
    for lane in 0..LANES {
        part[lane] = exp(part[lane] - highest);
        sums[lane] += part[lane];
    }
}

/// The sum of the lanes, in pairs.
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    let mut lanes = lanes;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// e to the power of `x <= 0`, with a relative error below 1e-6; 0 below -87, where a float runs out of exponents.
///
/// x = n ln 2 + r with a whole n; e^r by its Taylor polynomial of degree 6 on |r| <= ln 2 / 2, where the next term is
/// below 1.2e-7; 2^n by writing n into the exponent.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it leaves a whole number in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    /// The head of ln 2, short enough that n times it is exact, and the rest (Cody and Waite 1980).
    const LN2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let clamped = if x > -87.0 { x } else { -87.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2.0 - n * LN2.1;
    let mut sum = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + coefficient;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if x > -87.0 { sum * power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Isa;

    proptest! {
        #[test]
        fn the_gradient_is_that_of_double_precision(
            scores in proptest::collection::vec(-8.0_f32..8.0, 1..200),
            masked in proptest::collection::vec(any::<bool>(), 200),
            target in any::<prop::sample::Index>(),
            scale in 0.2_f32..20.0,
            own in -9.0_f32..0.0,
        ) {
            let target = target.index(scores.len());
            let log_q: Vec<f32> = (0..scores.len()).map(|place| -1.0 - place as f32 / 50.0).collect();
            let mut mask = vec![0_u64; scores.len().div_ceil(64)];
            for place in (0..scores.len()).filter(|place| masked[*place]) {
                mask[place / 64] |= 1 << (place % 64);
            }
            let logits: Vec<f64> = (0..scores.len())
                .map(|place| {
                    if place == target {
                        f64::from(scores[place] * scale - own)
                    } else if masked[place] {
                        f64::NEG_INFINITY
                    } else {
                        f64::from(scores[place] * scale - log_q[place])
                    }
                })
                .collect();
            let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|x| (x - highest).exp()).sum();
            let mut first = None;
            for isa in Isa::available() {
                let mut row = scores.clone();
                let loss = softmax_gradient(isa, &mut row, scale, &log_q, &mask, (target, own), 0.5);
                prop_assert!((f64::from(loss) - (sum.ln() + highest - logits[target])).abs() < 1e-4);
                for (place, x) in row.iter().enumerate() {
                    let p = (logits[place] - highest).exp() / sum;
                    let expected = 0.5 * (p - f64::from(u8::from(place == target)));
                    prop_assert!((f64::from(*x) - expected).abs() < 1e-6, "{:?} {} {}", isa, x, expected);
                }
                let bits: Vec<u32> = row.iter().map(|x| x.to_bits()).collect();
                prop_assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "{:?} gives other bits", isa);
            }
        }
    }

    #[test]
    fn a_nan_anywhere_is_a_nan_loss() {
        for isa in Isa::available() {
            for place in [0, 5, 20] {
                let mut row = vec![0.5; 21];
                row[place] = f32::NAN;
                let log_q = vec![0.0; 21];
                assert!(
                    softmax_gradient(isa, &mut row, 1.0, &log_q, &[0], (3, 0.0), 1.0).is_nan(),
                    "{isa:?} {place}"
                );
            }
        }
    }

    #[test]
    fn the_exponential_is_close_and_ends_in_zero() {
        for step in 0..8700 {
            let x = -step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 1e-6, "{x}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }
}
