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

    /// Which rows of a batch are no negatives for which others: those with the row's own item, or with another positive
    /// of its user. A user's rows share one line, so that few users with many positives stay cheap.
    pub(crate) fn mask(&self, users: &[i64], items: &[i64]) -> Mask {
        let batch = items.len();
        let mut places: HashMap<i64, Vec<usize>> = HashMap::new();
        for (place, &item) in items.iter().enumerate() {
            places.entry(item).or_default().push(place);
        }
        let mut lines: HashMap<(Option<i64>, Option<i64>), i64> = HashMap::new();
        let mut mask = Mask {
            lines: Vec::new(),
            line_of: Vec::with_capacity(batch),
        };
        for (user, item) in users.iter().zip(items) {
            let (key, positives) = match self.positives.get(user) {
                Some(positives) => ((Some(*user), None), positives.as_slice()),
                None => ((None, Some(*item)), std::slice::from_ref(item)),
            };
            let next = lines.len() as i64;
            let line = *lines.entry(key).or_insert_with(|| {
                let start = mask.lines.len();
                mask.lines.resize(start + batch, 0);
                for &place in positives.iter().filter_map(|item| places.get(item)).flatten() {
                    mask.lines[start + place] = 1;
                }
                next
            });
            mask.line_of.push(line);
        }
        mask
    }
}

/// Which rows of a batch are no negatives for which others.
#[derive(Debug)]
pub(crate) struct Mask {
    /// Row-major [lines, batch]: 1 for a row that is no negative.
    pub(crate) lines: Vec<u8>,
    /// The line of each row of the batch. It marks the row itself, too.
    pub(crate) line_of: Vec<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_items_and_other_positives_are_no_negatives() {
        let originals = Originals::without_vocabulary();
        // User 5 likes items 1 and 2, user 6 likes 3; id 0 is nobody.
        let sampling = Sampling::new(&[5, 5, 6, 0], &[1, 2, 3, 1], &originals);
        let mask = sampling.mask(&[5, 6, 0, 5], &[1, 3, 1, 2]);
        let line = |row: usize| &mask.lines[mask.line_of[row] as usize * 4..][..4];
        assert_eq!(line(0), [1, 0, 1, 1]);
        assert_eq!(line(1), [0, 1, 0, 0]);
        assert_eq!(line(2), [1, 0, 1, 0]);
        assert_eq!(line(3), line(0));
        assert!((sampling.log_q(&[1])[0] - 0.5_f32.ln()).abs() < 1e-6);
    }
}
