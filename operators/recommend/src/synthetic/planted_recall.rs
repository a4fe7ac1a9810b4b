//! Optimal recall on interactions with planted structure.

/// The probability of each item id if a fraction `structure` of the interactions moves its item to `moved(item)`, at
/// most `reach` ids on. `item` is the distribution without structure, from item 1 on.
pub(crate) fn chosen(item: &[f64], structure: f64, reach: usize, moved: impl Fn(i64) -> i64) -> Vec<f64> {
    let mut probability = vec![0.0; item.len() + reach + 1];
    for (place, p) in item.iter().enumerate() {
        let id = place as i64 + 1;
        probability[id as usize] += (1.0 - structure) * p;
        probability[moved(id) as usize] += structure * p;
    }
    probability
}

/// The optimal recall at each of `ks`: of lists with the most probable items of the user's taste.
///
/// `items` has the item probabilities by taste, `tastes` the fraction of interactions by taste.
pub(crate) fn recall(items: &[Vec<f64>], tastes: &[f64], ks: &[usize]) -> Vec<f64> {
    let mut recalls = vec![0.0; ks.len()];
    for (probability, share) in items.iter().zip(tastes) {
        let mut probability = probability.clone();
        probability.sort_by(|a, b| b.total_cmp(a));
        for (recall, &k) in recalls.iter_mut().zip(ks) {
            *recall += share * probability.iter().take(k).sum::<f64>();
        }
    }
    recalls
}

/// The standard normal distribution function (Marsaglia 2004, "Evaluating the normal distribution").
pub(crate) fn normal_below(x: f64) -> f64 {
    if x.abs() > 8.0 {
        return f64::from(u8::from(x > 0.0));
    }
    let (mut term, mut sum, mut i) = (x, x, 1.0);
    while f64::abs(term) > 1e-17 * f64::abs(sum) && sum != 0.0 {
        i += 2.0;
        term *= x * x / i;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x - 0.918_938_533_204_672_7).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_list_of_a_taste_has_its_likeliest_items() {
        // Four items; taste 0 moves everything to even items, taste 1 to odd ones.
        let moved = |item: i64, taste: i64| if item % 2 == taste { item } else { item + 1 };
        let item = [0.4, 0.3, 0.2, 0.1];
        let items = |structure| [0, 1].map(|taste| chosen(&item, structure, 1, |item| moved(item, taste)));
        let none = recall(&items(0.0), &[0.5, 0.5], &[1, 2, 4]);
        assert!((none[0] - 0.4).abs() < 1e-12 && (none[1] - 0.7).abs() < 1e-12 && (none[2] - 1.0).abs() < 1e-12);
        let all = recall(&items(1.0), &[1.0, 0.0], &[1]);
        assert!((all[0] - 0.7).abs() < 1e-12, "{all:?}");
    }

    #[test]
    fn the_normal_distribution_has_its_known_values() {
        for (x, expected) in [
            (0.0, 0.5),
            (1.96, 0.975_002_104_851_779_5),
            (-3.0, 0.001_349_898_031_630_094_5),
        ] {
            assert!((normal_below(x) - expected).abs() < 1e-12, "{x}: {}", normal_below(x));
        }
    }
}
