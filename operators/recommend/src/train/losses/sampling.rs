//! What the sampled softmax needs to know of the training data: how often an item is drawn as a negative, and which
//! negatives are none.

use std::collections::HashMap;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use towline_kernels::{Mask, Positives};

use crate::data::training_rows::RowWindow;
use crate::train::losses::hard_negatives::Hard;

/// How often an item that is unknown to the user is looked for.
const DRAWS: usize = 64;

/// The distinct items of the training rows, by encoded id: the catalogue that negatives come from.
#[derive(Debug)]
pub(crate) struct Sampling {
    /// The share of the rows that hold an item, by encoded id.
    share: Vec<f64>,
    /// The row of each in [`RowWindow::items`].
    catalogue: Vec<usize>,
    /// The place of an encoded id in `catalogue`.
    places: Vec<u32>,
}

/// The rows of a batch, and what their users have interacted with.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    /// The rows in memory.
    pub(crate) chunk: &'a RowWindow,
    /// Those of the batch.
    pub(crate) rows: &'a [usize],
    /// What their users have interacted with.
    pub(crate) positives: &'a Positives,
    /// Who of `positives` each row's user is, if somebody.
    pub(crate) users: Vec<Option<u32>>,
}

/// The candidates of a batch: each item once, however often it was drawn.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    /// A row that holds each.
    pub(crate) rows: Vec<usize>,
    /// Its item.
    pub(crate) items: Vec<u32>,
    /// Log of the probability that it is drawn, less the log of how often it was.
    pub(crate) log_q: Vec<f32>,
    /// Which candidate each row of the batch is about, with the log of the probability of one draw of it.
    pub(crate) targets: Vec<(u32, f32)>,
    /// The candidates that were drawn beside those of the batch, in the order of the draws.
    pub(crate) beside: Vec<u32>,
}

impl Sampling {
    /// The catalogue of these items, which came first in this order and occurred so often.
    pub(crate) fn new(items: &[u32], counts: &[u64]) -> Self {
        let size = items.iter().max().map_or(0, |&id| id as usize + 1);
        let total = counts.iter().sum::<u64>() as f64;
        let mut catalogue: Vec<usize> = (0..items.len()).collect();
        catalogue.sort_by_key(|&row| items[row]);
        let (mut share, mut places) = (vec![0.0; size], vec![0; size]);
        for (place, &row) in catalogue.iter().enumerate() {
            share[items[row] as usize] = counts[row] as f64 / total;
            places[items[row] as usize] = place as u32;
        }
        Sampling {
            share,
            catalogue,
            places,
        }
    }

    /// The row of each distinct item.
    pub(crate) fn catalogue(&self) -> &[usize] {
        &self.catalogue
    }

    /// The whole catalogue as candidates of these rows.
    pub(crate) fn everything(&self, batch: &Batch<'_>) -> Drawn {
        let items = &batch.chunk.item_ids;
        let own = |&row: &usize| (self.places[batch.chunk.item(row) as usize], 0.0);
        Drawn {
            rows: self.catalogue.clone(),
            items: self.catalogue.iter().map(|&row| items[row]).collect(),
            log_q: vec![0.0; self.catalogue.len()],
            targets: batch.rows.iter().map(own).collect(),
            beside: Vec::new(),
        }
    }

    /// The places in the catalogue of what the user of each row has interacted with, ascending: the row's own at least.
    pub(crate) fn known(&self, batch: &Batch<'_>) -> Vec<Vec<u32>> {
        let known = |(&row, user): (&usize, &Option<u32>)| match user {
            Some(user) => {
                let items = batch.positives.of(*user).iter();
                items.map(|item| self.places[*item as usize]).collect()
            }
            None => vec![self.places[batch.chunk.item(row) as usize]],
        };
        batch.rows.iter().zip(&batch.users).map(known).collect()
    }

    /// The items of the batch, of `uniform`, which were drawn evenly from the catalogue, and of `hard`, as candidates of
    /// its rows. A candidate holds an item with the probability that this mixture has (Yang et al. 2020, mixed negative
    /// sampling). Several draws of one item count for the loss what they would count one by one.
    pub(crate) fn drawn(&self, batch: &Batch<'_>, uniform: &[usize], hard: &Hard, logq: bool) -> Drawn {
        let rows = batch.rows.len();
        let mut places: HashMap<usize, u32> = HashMap::with_capacity(rows);
        let mut drawn = Drawn::default();
        let mut counts: Vec<f64> = Vec::new();
        let hard_rows = hard.drawn.iter().map(|place| self.catalogue[*place as usize]);
        let own = batch.rows.iter().map(|&row| batch.chunk.places[row]);
        for row in own.chain(uniform.iter().copied()).chain(hard_rows) {
            let place = *places.entry(row).or_insert_with(|| {
                drawn.rows.push(row);
                counts.push(0.0);
                (counts.len() - 1) as u32
            });
            counts[place as usize] += 1.0;
            if drawn.targets.len() < rows {
                drawn.targets.push((place, 0.0));
            } else {
                drawn.beside.push(place);
            }
        }
        drawn.items = drawn.rows.iter().map(|&row| batch.chunk.item_ids[row]).collect();
        let (own, other) = (rows as f64, uniform.len() as f64);
        let draws = own + other + hard.drawn.len() as f64;
        let probability = |&item: &u32| {
            let recommended = hard.expected.get(&self.places[item as usize]).copied().unwrap_or(0.0);
            let share = self.share[item as usize] * own + other / self.catalogue.len() as f64 + recommended;
            if logq { (share / draws).ln() } else { 0.0 }
        };
        let one: Vec<f64> = drawn.items.iter().map(probability).collect();
        drawn
            .targets
            .iter_mut()
            .for_each(|(place, log_q)| *log_q = one[*place as usize] as f32);
        drawn.log_q = one
            .iter()
            .zip(&counts)
            .map(|(log_q, count)| (log_q - count.ln()) as f32)
            .collect();
        drawn
    }

    /// For each row an item that its user has not interacted with, drawn evenly from the catalogue; its row. Nothing, if
    /// chance finds none: the user knows nearly everything.
    pub(crate) fn unknown(&self, batch: &Batch<'_>, rng: &mut ChaCha8Rng) -> Vec<Option<usize>> {
        let draw = |(&row, user): (&usize, &Option<u32>)| {
            let own = batch.chunk.item(row);
            let liked = user.map_or(&[][..], |user| batch.positives.of(user));
            (0..DRAWS).find_map(|_| {
                let other = self.catalogue[rng.random_range(0..self.catalogue.len())];
                let item = batch.chunk.item_ids[other];
                // The items of a user ascend.
                (item != own && liked.binary_search(&item).is_err()).then_some(other)
            })
        };
        batch.rows.iter().zip(&batch.users).map(draw).collect()
    }

    /// Which candidates are no negatives for these rows.
    pub(crate) fn mask(&self, batch: &Batch<'_>, drawn: &Drawn, mask: &mut Mask) {
        let targets: Vec<u32> = drawn.targets.iter().map(|(place, _)| *place).collect();
        mask.fill(batch.positives, &batch.users, &targets, &drawn.items, self.share.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::feature_column::{FeatureColumn, IdFeatures};
    use crate::data::feature_table::FeatureTable;

    /// Five rows: of the users 0, 0, 1 and of nobody, with the items 1, 2, 3, 1, 1; the last looks different.
    fn chunk() -> RowWindow {
        let column = |ids: &[i64]| {
            vec![(
                "x".to_owned(),
                FeatureColumn::IdFeatures(IdFeatures::Single(ids.to_vec())),
            )]
        };
        let items = FeatureTable::of(column(&[1, 2, 3, 4]), 4);
        let mut chunk = RowWindow::new(FeatureTable::of(column(&[0; 5]), 5), items, vec![1, 2, 3, 1]);
        chunk.users = vec![Some(0), Some(0), Some(1), None, None];
        chunk.places = vec![0, 1, 2, 0, 3];
        chunk
    }

    fn with<T>(rows: &[usize], use_of: impl Fn(&Sampling, &Batch<'_>) -> T) -> T {
        let chunk = chunk();
        let positives = Positives::new(2, &[(0, 1), (0, 2), (1, 3)]);
        let users = rows.iter().map(|row| chunk.users[*row]).collect();
        let batch = Batch {
            chunk: &chunk,
            rows,
            positives: &positives,
            users,
        };
        use_of(&Sampling::new(&[1, 2, 3], &[3, 1, 1]), &batch)
    }

    fn drawn(rows: &[usize], uniform: &[usize], hard: &Hard, logq: bool) -> Drawn {
        with(rows, |sampling, batch| sampling.drawn(batch, uniform, hard, logq))
    }

    #[test]
    fn an_item_is_a_candidate_once_and_counts_for_every_draw() {
        let found = drawn(&[0, 2, 3, 1], &[], &Hard::default(), true);
        assert_eq!((&found.rows, &found.items), (&vec![0, 2, 1], &vec![1, 3, 2]));
        let places: Vec<u32> = found.targets.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 1, 0, 2]);
        let one = 0.6_f32.ln();
        assert!((found.targets[0].1 - one).abs() < 1e-6 && (found.log_q[0] - (one - 2.0_f32.ln())).abs() < 1e-6);
        // Rows that the item tower can tell apart stay apart.
        assert_eq!(drawn(&[0, 4], &[], &Hard::default(), true).rows, [0, 3]);
    }

    #[test]
    fn a_mixture_has_the_probability_of_both_ways_to_be_drawn() {
        let found = drawn(&[0, 2], &[1, 1], &Hard::default(), true);
        // One candidate in two is drawn evenly from three items, the other by frequency.
        assert!((found.targets[1].1 - (0.5_f32 / 5.0 + 0.5 / 3.0).ln()).abs() < 1e-6);
        assert_eq!(found.rows, [0, 2, 1]);
        let plain = drawn(&[0, 2], &[1], &Hard::default(), false);
        assert!(plain.targets.iter().all(|(_, log_q)| *log_q == 0.0));
    }

    #[test]
    fn hard_negatives_are_as_likely_as_the_lists_of_the_users_make_them() {
        let hard = Hard {
            drawn: vec![1, 1],
            expected: [(1, 1.5), (2, 0.5)].into(),
        };
        let found = drawn(&[0, 2], &[], &hard, true);
        // The second item is no item of the batch: it is drawn with two draws in four, and a fifth of the rows hold it.
        assert_eq!((&found.items, found.targets.len()), (&vec![1, 3, 2], 2));
        let one = [(0.6 * 2.0) / 4.0, (0.2 * 2.0 + 0.5) / 4.0, (0.2 * 2.0 + 1.5) / 4.0_f32].map(f32::ln);
        for (place, count) in [(0, 1.0), (1, 1.0), (2, 2.0_f32)] {
            assert!((found.log_q[place] - (one[place] - count.ln())).abs() < 1e-6, "{place}");
        }
        let known = with(&[0, 2, 3], Sampling::known);
        assert_eq!(known, [vec![0, 1], vec![2], vec![0]]);
    }

    #[test]
    fn nobody_has_no_positives() {
        let masks = with(&[0, 2, 3, 1], |sampling, batch| {
            let mut mask = Mask::default();
            sampling.mask(batch, &sampling.drawn(batch, &[], &Hard::default(), true), &mut mask);
            (mask.line(0).to_vec(), mask.line(2).to_vec())
        });
        assert_eq!(masks, (vec![0b101], vec![0b001]));
    }

    #[test]
    fn everything_is_each_item_once() {
        let all = with(&[3, 2], Sampling::everything);
        assert_eq!((all.rows, all.items), (vec![0, 1, 2], vec![1, 2, 3]));
        assert_eq!(all.targets, [(0, 0.0), (2, 0.0)]);
    }
}
