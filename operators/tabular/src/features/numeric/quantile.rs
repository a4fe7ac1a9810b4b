//! Exact and approximate quantiles.

use std::collections::BTreeMap;

/// Low bits of a double that its bin ignores: sign, exponent and 11 bits of the mantissa select the bin, so that the
/// middle of a bin is within 0.025 % of every number in it.
const BIN_SHIFT: u32 = 41;

/// The quantile `q` by linear interpolation between the two nearest values (NumPy's default, R-7). Sorts `values`.
pub(crate) fn exact(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let place = q * last as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    Some(between(low, high, place.fract()))
}

/// A histogram with bins of equal relative width: bounded memory, independent of the order of the input.
#[derive(Debug, Default)]
pub(crate) struct Bins {
    bins: BTreeMap<i64, Bin>,
}

/// Number of values in a bin, and their minimum and maximum.
#[derive(Debug)]
struct Bin {
    count: u64,
    low: f64,
    high: f64,
}

impl Bins {
    pub(crate) fn add(&mut self, value: f64) {
        let bits = value.to_bits() as i64;
        let ordered = bits ^ (((bits >> 63) as u64) >> 1) as i64;
        let bin = self.bins.entry(ordered >> BIN_SHIFT).or_insert(Bin {
            count: 0,
            low: value,
            high: value,
        });
        bin.count += 1;
        (bin.low, bin.high) = (bin.low.min(value), bin.high.max(value));
    }

    /// The quantile `q` as in [`exact`], with the middle of a bin in place of its values: exact if the bin holds one
    /// value.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.bins.values().map(|bin| bin.count).sum();
        let place = q * total.checked_sub(1)? as f64;
        let (low, high) = (self.at(place.floor() as u64)?, self.at(place.ceil() as u64)?);
        Some(between(low, high, place.fract()))
    }

    fn at(&self, place: u64) -> Option<f64> {
        let mut before = 0;
        let bin = self.bins.values().find(|bin| {
            before += bin.count;
            place < before
        })?;
        Some(between(bin.low, bin.high, 0.5))
    }
}

fn between(low: f64, high: f64, share: f64) -> f64 {
    // Equal infinities must not be subtracted: the difference is NaN.
    if low == high { low } else { low + (high - low) * share }
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

    #[test]
    fn bins_of_one_value_are_exact_and_two_in_the_middle_share() {
        let median = |values: &[f64]| {
            let mut bins = Bins::default();
            for value in values {
                bins.add(*value);
            }
            bins.quantile(0.5)
        };
        assert_eq!(median(&[0.0, 0.0, 0.0]), Some(0.0));
        assert_eq!(median(&[5.0, 5.0, 5.0, 5.0]), Some(5.0));
        assert_eq!(median(&[-3.0, 1.0, 8.0, -9.0]), Some(-1.0));
        assert_eq!(median(&[f64::INFINITY, f64::INFINITY, 1.0]), Some(f64::INFINITY));
    }
}
