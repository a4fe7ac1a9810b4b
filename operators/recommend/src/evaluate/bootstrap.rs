//! Bootstrap confidence intervals of means over queries.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Tail probability at each end of an interval.
const TAIL: f64 = 0.025;

/// 95 % confidence intervals of the mean of each column by the percentile bootstrap (Efron 1979): `samples` resamples
/// with replacement, each as large as `rows`.
pub(crate) fn intervals<const N: usize>(rows: &[[f64; N]], samples: usize, seed: u64) -> [(f64, f64); N] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut means: Vec<[f64; N]> = Vec::with_capacity(samples);
    for _ in 0..samples {
        let mut sums = [0.0; N];
        for _ in 0..rows.len() {
            let row = &rows[rng.random_range(0..rows.len())];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        means.push(sums.map(|sum| sum / rows.len() as f64));
    }
    std::array::from_fn(|column| {
        let mut values: Vec<f64> = means.iter().map(|mean| mean[column]).collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            values
                .get((share * (values.len() - 1) as f64).round() as usize)
                .copied()
        };
        (at(TAIL).unwrap_or(f64::NAN), at(1.0 - TAIL).unwrap_or(f64::NAN))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_as_wide_as_the_theory_says() {
        let rows: Vec<[f64; 2]> = (0..2000).map(|row| [f64::from(row % 2), 3.0]).collect();
        let [(low, high), constant] = intervals(&rows, 500, 1);
        // The standard error of a fair coin's mean is 0.5 / sqrt(2000).
        let expected = 2.0 * 1.96 * 0.5 / 2000.0_f64.sqrt();
        assert!(((high - low) / expected - 1.0).abs() < 0.15, "{low} {high}");
        assert!(low < 0.5 && high > 0.5);
        assert_eq!(constant, (3.0, 3.0));
    }
}
