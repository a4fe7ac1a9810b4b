//! The structure planted by `SyntheticAliCcp`: every user has a taste, and in a fraction of the interactions the item
//! is replaced by the nearest one that suits the taste.

use xxhash_rust::xxh3::xxh3_64;

use crate::synthetic::planted_recall::{chosen, normal_below, recall};

/// Number of tastes.
pub(crate) const TASTES: i64 = 8;
/// Largest user id; the smallest is 1.
pub(crate) const MAX_USER_ID: i64 = 238_635;
/// Largest item id before items are moved; the smallest is 1.
pub(crate) const MAX_ITEM_ID: i64 = 467_298;

/// The taste of a user, from 0.
pub(crate) fn taste(user: i64) -> i64 {
    (xxh3_64(&user.to_le_bytes()) % TASTES as u64) as i64
}

/// Whether an item suits a taste.
pub(crate) fn suits(item: i64, taste: i64) -> bool {
    item % TASTES == taste
}

/// The item next to `item` that suits a taste.
pub(crate) fn suited(item: i64, taste: i64) -> i64 {
    let near = item - item % TASTES + taste;
    if near == 0 { TASTES } else { near }
}

/// The distributions that interactions are drawn from.
#[derive(Debug)]
pub(crate) struct PlantedRule {
    /// Fraction of interactions by taste.
    pub(crate) tastes: Vec<f64>,
    /// Item probabilities by taste and id; ids beyond the end have probability 0.
    pub(crate) items: Vec<Vec<f64>>,
    /// Fraction of interactions whose item suits the user's taste, planted or not.
    pub(crate) suiting: f64,
}

impl PlantedRule {
    /// The distributions if a fraction `structure` of the interactions moves its item.
    pub(crate) fn new(structure: f64) -> Self {
        let mut tastes = vec![0.0; TASTES as usize];
        for (place, p) in id_distribution(MAX_USER_ID).into_iter().enumerate() {
            tastes[taste(place as i64 + 1) as usize] += p;
        }
        let item = id_distribution(MAX_ITEM_ID);
        let of_taste = |taste| chosen(&item, structure, TASTES as usize, |item| suited(item, taste));
        let items: Vec<Vec<f64>> = (0..TASTES).map(of_taste).collect();
        let suiting = (0..TASTES).zip(&items).zip(&tastes).map(|((taste, items), share)| {
            let fitting = (0..).zip(items).filter(|(item, _)| suits(*item, taste));
            share * fitting.map(|(_, p)| p).sum::<f64>()
        });
        PlantedRule {
            suiting: suiting.sum(),
            tastes,
            items,
        }
    }

    /// Optimal recall at each of `ks`, averaged over interactions.
    pub(crate) fn best_recall(&self, ks: &[usize]) -> Vec<f64> {
        recall(&self.items, &self.tastes, ks)
    }
}

/// Probabilities of ids from 1 to `most`: the integer part of a log-normal variable (mean 3, standard deviation 1 of
/// the logarithm), clamped.
fn id_distribution(most: i64) -> Vec<f64> {
    let below = |id: i64| normal_below((id as f64).ln() - 3.0);
    (1..=most)
        .map(|id| {
            let low = if id == 1 { 0.0 } else { below(id) };
            let high = if id == most { 1.0 } else { below(id + 1) };
            high - low
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_moves_to_its_neighbour_that_suits() {
        for taste in 0..TASTES {
            for item in [1, 7, 8, 9, 467_298] {
                let moved = suited(item, taste);
                assert!(suits(moved, taste) && moved > 0 && (moved - item).abs() <= TASTES);
            }
        }
    }

    #[test]
    fn probabilities_add_up_to_one() {
        let rule = PlantedRule::new(0.25);
        assert!((rule.tastes.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        for items in &rule.items {
            assert!((items.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        // About one in eight of the others suits by chance.
        assert!((rule.suiting - (0.25 + 0.75 / 8.0)).abs() < 0.02, "{}", rule.suiting);
    }
}
