//! Ranking metrics at k with binary relevance, averaged over queries.

use std::collections::{BTreeMap, BTreeSet};

/// The names of the metrics at one k, in the order of a report.
pub(crate) const NAMES: [&str; 7] = ["recall", "precision", "ndcg", "map", "mrr", "hit_rate", "coverage"];

/// The metrics of one query, in the order of [`NAMES`] without the last.
///
/// recall = hits / min(relevant, k), precision = hits / k, NDCG with gain 1 and discount log2(rank + 1) (Järvelin and
/// Kekäläinen 2002), MAP = sum of the precisions at the hits / min(relevant, k), MRR = 1 / rank of the first hit.
/// `relevant` is ascending; `count` counts the relevant items that no list can hold, too.
pub(crate) fn at_k(ranked: &[u32], relevant: &[u32], count: usize, k: usize) -> [f64; 6] {
    let best = count.min(k);
    if best == 0 {
        return [0.0; 6];
    }
    let discount = |rank: usize| 1.0 / ((rank + 1) as f64).log2();
    let (mut hits, mut gain, mut precisions, mut first) = (0.0, 0.0, 0.0, 0.0);
    for (place, row) in ranked.iter().take(k).enumerate() {
        if relevant.binary_search(row).is_ok() {
            let rank = place + 1;
            hits += 1.0;
            gain += discount(rank);
            precisions += hits / rank as f64;
            if first == 0.0 {
                first = 1.0 / rank as f64;
            }
        }
    }
    let ideal: f64 = (1..=best).map(discount).sum();
    let best = best as f64;
    [hits / best, hits / k as f64, gain / ideal, precisions / best, first, f64::from(u8::from(hits > 0.0))]
}

/// Sums the metrics of queries at one k.
#[derive(Debug, Clone)]
pub(crate) struct Average {
    k: usize,
    queries: u64,
    sums: [f64; 6],
    recall_squares: f64,
    shown: BTreeSet<u32>,
}

impl Average {
    /// No queries yet.
    pub(crate) fn new(k: usize) -> Self {
        Average { k, queries: 0, sums: [0.0; 6], recall_squares: 0.0, shown: BTreeSet::new() }
    }

    /// One query more.
    pub(crate) fn add(&mut self, ranked: &[u32], relevant: &[u32], count: usize) {
        let values = at_k(ranked, relevant, count, self.k);
        self.queries += 1;
        self.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        self.recall_squares += values[0] * values[0];
        self.shown.extend(ranked.iter().take(self.k));
    }

    /// The averages in the order of [`NAMES`]; coverage is the part of the catalogue that some list shows.
    pub(crate) fn values(&self, catalogue: usize) -> [f64; 7] {
        let queries = self.queries.max(1) as f64;
        let [recall, precision, ndcg, map, mrr, hit_rate] = self.sums.map(|sum| sum / queries);
        [recall, precision, ndcg, map, mrr, hit_rate, self.shown.len() as f64 / catalogue.max(1) as f64]
    }

    /// Adds the averages to `metrics`, as `<prefix>recall_at_10` and so on.
    pub(crate) fn write(&self, catalogue: usize, prefix: &str, metrics: &mut BTreeMap<String, f64>) {
        for (name, value) in NAMES.iter().zip(self.values(catalogue)) {
            metrics.insert(format!("{prefix}{name}_at_{}", self.k), value);
        }
    }

    /// Standard deviation of recall over the queries.
    pub(crate) fn recall_deviation(&self) -> f64 {
        let queries = self.queries.max(1) as f64;
        (self.recall_squares / queries - (self.sums[0] / queries).powi(2)).max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_match_values_computed_by_hand() {
        // Hits at ranks 2 and 3 of 5; three items are relevant, one of them in no list.
        let values = at_k(&[9, 1, 4, 7, 8], &[1, 4], 3, 5);
        let log = f64::log2;
        let ndcg = (1.0 / log(3.0) + 1.0 / log(4.0)) / (1.0 + 1.0 / log(3.0) + 1.0 / log(4.0));
        let expected = [2.0 / 3.0, 0.4, ndcg, (1.0 / 2.0 + 2.0 / 3.0) / 3.0, 0.5, 1.0];
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-12, "{values:?}");
        }
        // More is relevant than the list is long: recall is over k.
        assert!((at_k(&[1, 2], &[1, 2, 3, 4], 4, 2)[0] - 1.0).abs() < 1e-12);
        assert_eq!(at_k(&[1, 2], &[3], 1, 2), [0.0; 6]);
        assert_eq!(at_k(&[1], &[], 0, 1), [0.0; 6]);
    }

    #[test]
    fn averages_and_coverage() {
        let mut average = Average::new(1);
        average.add(&[0, 5], &[0], 1);
        average.add(&[0], &[3], 1);
        let values = average.values(4);
        assert!((values[0] - 0.5).abs() < 1e-12 && (values[6] - 0.25).abs() < 1e-12);
        assert!((average.recall_deviation() - 0.5).abs() < 1e-12);
    }
}
