//! Ranking metrics at k with binary relevance, averaged over queries.

use std::collections::BTreeMap;

/// Names of the per-query metrics.
pub(crate) const OF_QUERY: [&str; 6] = ["recall", "precision", "ndcg", "map", "mrr", "hit_rate"];
/// Names of all metrics at a k, in report order: per-query metrics, then metrics of all lists.
pub(crate) const NAMES: [&str; 9] = [
    "recall",
    "precision",
    "ndcg",
    "map",
    "mrr",
    "hit_rate",
    "coverage",
    "gini",
    "popularity",
];

/// The metrics of one query, in the order of [`OF_QUERY`].
///
/// recall = hits / min(relevant, k), precision = hits / k, NDCG with gain 1 and discount log2(rank + 1) (Järvelin and
/// Kekäläinen 2002), MAP = sum of the precisions at the hits / min(relevant, k), MRR = 1 / rank of the first hit.
/// `relevant` is ascending; `count` also includes relevant items that are not in the catalogue.
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
    [
        hits / best,
        hits / k as f64,
        gain / ideal,
        precisions / best,
        first,
        f64::from(u8::from(hits > 0.0)),
    ]
}

/// Accumulates metrics of queries at one k.
#[derive(Debug, Clone)]
pub(crate) struct AverageMetrics {
    k: usize,
    /// The metrics of each query.
    pub(crate) queries: Vec<[f64; 6]>,
    /// Number of lists that contain each item.
    shown: Vec<u64>,
}

impl AverageMetrics {
    /// Starts empty, for a catalogue of this size.
    pub(crate) fn new(k: usize, catalogue: usize) -> Self {
        AverageMetrics {
            k,
            queries: Vec::new(),
            shown: vec![0; catalogue],
        }
    }

    /// Adds a query.
    pub(crate) fn add(&mut self, ranked: &[u32], relevant: &[u32], count: usize) {
        self.queries.push(at_k(ranked, relevant, count, self.k));
        for row in ranked.iter().take(self.k) {
            self.shown[*row as usize] += 1;
        }
    }

    /// The means of the per-query metrics, in the order of [`OF_QUERY`].
    pub(crate) fn of_queries(&self) -> [f64; 6] {
        let count = self.queries.len().max(1) as f64;
        std::array::from_fn(|metric| {
            // Start at 0: an empty sum of floats is -0.
            self.queries.iter().fold(0.0, |sum, values| sum + values[metric]) / count
        })
    }

    /// All metrics in the order of [`NAMES`]; `shares` are the items' relative frequencies in the training data.
    ///
    /// Coverage is the fraction of the catalogue in at least one list. Gini is the Gini coefficient of item exposure: 0
    /// if uniform, near 1 if concentrated on one item. Popularity is the mean relative frequency of the recommended
    /// items.
    pub(crate) fn values(&self, shares: &[f64]) -> [f64; 9] {
        let [recall, precision, ndcg, map, mrr, hit_rate] = self.of_queries();
        let places = self.shown.iter().sum::<u64>().max(1) as f64;
        let coverage = self.shown.iter().filter(|count| **count > 0).count() as f64 / self.shown.len().max(1) as f64;
        let popularity = self
            .shown
            .iter()
            .zip(shares)
            .map(|(count, share)| *count as f64 * share)
            .sum::<f64>()
            / places;
        [
            recall,
            precision,
            ndcg,
            map,
            mrr,
            hit_rate,
            coverage,
            gini(&self.shown),
            popularity,
        ]
    }

    /// Adds the metrics to `metrics`, named `<prefix>recall_at_10` and so on.
    pub(crate) fn write(&self, shares: &[f64], prefix: &str, metrics: &mut BTreeMap<String, f64>) {
        for (name, value) in NAMES.iter().zip(self.values(shares)) {
            metrics.insert(format!("{prefix}{name}_at_{}", self.k), value);
        }
    }
}

/// The Gini coefficient of counts.
fn gini(counts: &[u64]) -> f64 {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let (n, total) = (sorted.len() as f64, sorted.iter().sum::<u64>() as f64);
    if total == 0.0 {
        return 0.0;
    }
    let weighted: f64 = sorted
        .iter()
        .enumerate()
        .map(|(place, count)| (2.0 * (place as f64 + 1.0) - n - 1.0) * *count as f64)
        .sum();
    weighted / (n * total)
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
