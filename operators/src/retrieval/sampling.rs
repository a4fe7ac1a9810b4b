//! What the in-batch softmax needs to know of the training data: how often an item is drawn as a negative, and which
//! negatives are none.

use std::collections::HashMap;

use super::ids::Originals;

/// Frequencies and positives of the training rows.
#[derive(Debug)]
pub(crate) struct Sampling {
    log_q: HashMap<i64, f32>,
    positives: HashMap<i64, Vec<i64>>,
}

impl Sampling {
    /// Counts the rows. Users without an identity share an id but no taste: their positives are not gathered.
    pub(crate) fn new(users: &[i64], items: &[i64], originals: &Originals) -> Self {
        let mut counts: HashMap<i64, u64> = HashMap::new();
        let mut positives: HashMap<i64, Vec<i64>> = HashMap::new();
        for (&user, &item) in users.iter().zip(items) {
            *counts.entry(item).or_default() += 1;
            if !originals.is_reserved(user) {
                positives.entry(user).or_default().push(item);
            }
        }
        for items in positives.values_mut() {
            items.sort_unstable();
            items.dedup();
        }
        let total = items.len() as f64;
        let log_q = counts
            .into_iter()
            .map(|(item, count)| (item, (count as f64 / total).ln() as f32))
            .collect();
        Sampling { log_q, positives }
    }

    /// Log of the probability that a row of the batch holds each of these items.
    pub(crate) fn log_q(&self, items: &[i64]) -> Vec<f32> {
        items
            .iter()
            .map(|item| self.log_q.get(item).copied().unwrap_or(0.0))
            .collect()
    }

    /// For each row of a batch, the other rows whose item is the row's own item or another positive of its user.
    pub(crate) fn false_negatives(&self, users: &[i64], items: &[i64]) -> Vec<Vec<u32>> {
        let mut places: HashMap<i64, Vec<u32>> = HashMap::new();
        for (place, &item) in items.iter().enumerate() {
            places.entry(item).or_default().push(place as u32);
        }
        let of = |(row, (user, item)): (usize, (&i64, &i64))| {
            let own = std::slice::from_ref(item);
            let positives = self.positives.get(user).map_or(own, Vec::as_slice);
            let masked = positives.iter().filter_map(|item| places.get(item)).flatten().copied();
            masked.filter(|&place| place as usize != row).collect()
        };
        users.iter().zip(items).enumerate().map(of).collect()
    }
}
