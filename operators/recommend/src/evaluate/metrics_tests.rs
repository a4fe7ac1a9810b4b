//! Metrics against values computed by hand and against an independent reference implementation.

use std::collections::HashSet;

use proptest::prelude::*;

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
    // More items are relevant than the list holds: recall is relative to k.
    assert!((at_k(&[1, 2], &[1, 2, 3, 4], 4, 2)[0] - 1.0).abs() < 1e-12);
    assert_eq!(at_k(&[1, 2], &[3], 1, 2), [0.0; 6]);
    assert_eq!(at_k(&[1], &[], 0, 1), [0.0; 6]);
}

#[test]
fn lists_that_show_one_item_are_uneven_and_popular() {
    let mut average = AverageMetrics::new(1, 4);
    average.add(&[0, 5], &[0], 1);
    average.add(&[0], &[3], 1);
    let values = average.values(&[0.7, 0.1, 0.1, 0.1]);
    assert!((values[0] - 0.5).abs() < 1e-12 && (values[6] - 0.25).abs() < 1e-12);
    assert!(
        (values[7] - 0.75).abs() < 1e-12 && (values[8] - 0.7).abs() < 1e-12,
        "{values:?}"
    );
    assert_eq!(gini(&[2, 2, 2]), 0.0);
}

/// Reference implementation of all metrics in [`NAMES`], straight from their definitions.
fn reference(lists: &[Vec<u32>], relevant: &[Vec<u32>], outside: &[usize], k: usize, shares: &[f64]) -> [f64; 9] {
    let mut sums = [0.0; 6];
    let (mut shown, mut places, mut popularity) = (vec![0.0; shares.len()], 0.0, 0.0);
    for ((list, relevant), outside) in lists.iter().zip(relevant).zip(outside) {
        let list: Vec<u32> = list.iter().copied().take(k).collect();
        let wanted: HashSet<u32> = relevant.iter().copied().collect();
        let most = f64::min((wanted.len() + outside) as f64, k as f64);
        for item in &list {
            shown[*item as usize] += 1.0;
            places += 1.0;
            popularity += shares[*item as usize];
        }
        if most == 0.0 {
            continue;
        }
        let hit = |rank: usize| wanted.contains(&list[rank - 1]);
        let upto = |rank: usize| (1..=rank).filter(|rank| hit(*rank)).count() as f64;
        let ranks: Vec<usize> = (1..=list.len()).filter(|rank| hit(*rank)).collect();
        let gain = |rank: &usize| std::f64::consts::LN_2 / (*rank as f64 + 1.0).ln();
        sums[0] += ranks.len() as f64 / most;
        sums[1] += ranks.len() as f64 / k as f64;
        sums[2] += ranks.iter().map(gain).sum::<f64>() / (1..=most as usize).map(|rank| gain(&rank)).sum::<f64>();
        sums[3] += ranks.iter().map(|rank| upto(*rank) / *rank as f64).sum::<f64>() / most;
        sums[4] += ranks.first().map_or(0.0, |rank| 1.0 / *rank as f64);
        sums[5] += if ranks.is_empty() { 0.0 } else { 1.0 };
    }
    let queries = lists.len() as f64;
    let items = shares.len() as f64;
    // Half of the mean absolute difference, relative to the mean.
    let differences: f64 = shown
        .iter()
        .flat_map(|a| shown.iter().map(move |b| f64::abs(a - b)))
        .sum();
    let gini = if places == 0.0 {
        0.0
    } else {
        differences / (2.0 * items * places)
    };
    let coverage = shown.iter().filter(|count| **count > 0.0).count() as f64 / items;
    let [recall, precision, ndcg, map, mrr, hit_rate] = sums.map(|sum| sum / queries);
    [
        recall,
        precision,
        ndcg,
        map,
        mrr,
        hit_rate,
        coverage,
        gini,
        popularity / f64::max(places, 1.0),
    ]
}

proptest! {
    #[test]
    fn metrics_are_those_of_the_reference(
        queries in proptest::collection::vec(
            (Just((0..40_u32).collect::<Vec<u32>>()).prop_shuffle(), proptest::collection::btree_set(0..40_u32, 0..12), 0..5_usize, 0..40_usize),
            1..20,
        ),
        k in 1..25_usize,
    ) {
        let shares: Vec<f64> = (0..40).map(|item| f64::from(item) / 780.0).collect();
        let mut average = AverageMetrics::new(k, 40);
        let (mut lists, mut relevant, mut outside) = (Vec::new(), Vec::new(), Vec::new());
        for (mut list, wanted, more, length) in queries {
            list.truncate(length);
            let wanted: Vec<u32> = wanted.into_iter().collect();
            average.add(&list, &wanted, wanted.len() + more);
            lists.push(list);
            relevant.push(wanted);
            outside.push(more);
        }
        let expected = reference(&lists, &relevant, &outside, k, &shares);
        for ((name, found), expected) in NAMES.iter().zip(average.values(&shares)).zip(expected) {
            prop_assert!((found - expected).abs() < 1e-9, "{}: {} {}", name, found, expected);
        }
    }
}
