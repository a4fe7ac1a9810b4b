//! Quantiles of numbers that come in any order.

use std::collections::BTreeMap;

/// How many bits of a double decide its bin: sign, exponent and 11 bits of the mantissa, so that the middle of a bin is
/// at most 0.025 % from any number in it.
const BIN_SHIFT: u32 = 41;

/// The quantile `q` of `values`, between two of them by linear interpolation (the rule of NumPy and R-7). Sorts them.
pub(super) fn exact(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let place = q * last as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

/// Counts in bins of equal relative width: memory stays bounded, and the result does not depend on the order.
#[derive(Debug, Default)]
pub(super) struct Bins {
    counts: BTreeMap<i64, u64>,
}

impl Bins {
    pub(super) fn add(&mut self, value: f64) {
        let bits = value.to_bits() as i64;
        let ordered = bits ^ (((bits >> 63) as u64) >> 1) as i64;
        *self.counts.entry(ordered >> BIN_SHIFT).or_insert(0) += 1;
    }

    /// The middle of the bin that the quantile `q` lies in.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.counts.values().sum();
        let place = (q * total.checked_sub(1)? as f64).round() as u64;
        let mut before = 0;
        for (bin, count) in &self.counts {
            before += count;
            if place < before {
                let ordered = (bin << BIN_SHIFT) | (1 << (BIN_SHIFT - 1));
                let bits = ordered ^ (((ordered >> 63) as u64) >> 1) as i64;
                return Some(f64::from_bits(bits as u64));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_between() {
        let mut values: Vec<f64> = (0..1000).rev().map(f64::from).collect();
        assert_eq!(exact(&mut values, 0.5), Some(499.5));
        assert_eq!(exact(&mut values, 0.25), Some(249.75));
        assert_eq!(exact(&mut [], 0.5), None);
        assert_eq!(exact(&mut [7.0], 0.9), Some(7.0));
    }

    #[test]
    fn bins_are_close_and_forget_the_order() {
        let (mut up, mut down) = (Bins::default(), Bins::default());
        for value in 0..10_000 {
            up.add(f64::from(value) - 5_000.0);
            down.add(4_999.0 - f64::from(value));
        }
        assert_eq!(up.quantile(0.9), down.quantile(0.9));
        let high = up.quantile(0.9).unwrap();
        assert!((high - 4_000.0).abs() < 2.0, "{high}");
        assert_eq!(Bins::default().quantile(0.5), None);
    }
}
