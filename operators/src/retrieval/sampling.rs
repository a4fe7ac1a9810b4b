//! What the sampled softmax needs to know of the training data: how often an item is drawn as a negative, and which
//! negatives are none.

use std::collections::HashMap;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use towline_kernels::{Mask, Positives};

use super::cells::Cells;
use super::columns::EncodedTable;
use super::hard_negatives::Hard;
use super::ids::Originals;
use super::sides::Sides;
use crate::contract::{OperatorError, Result};

/// How often an item that is unknown to the user is looked for.
const DRAWS: usize = 64;

/// Frequencies and positives of the training rows.
#[derive(Debug)]
pub(crate) struct Sampling {
    /// The share of the rows that hold an item, by encoded id.
    share: Vec<f64>,
    positives: Positives,
    users: Vec<Option<u32>>,
    items: Vec<u32>,
    /// The first row of each distinct item, by encoded id.
    catalogue: Vec<usize>,
    /// The place of an encoded id in `catalogue`.
    places: Vec<u32>,
    /// For each row the first one of its item, if the item tower cannot tell the two apart, or else itself.
    twins: Vec<usize>,
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
    /// Counts the rows of `train`. Users without an identity share an id but no taste: their positives are not gathered.
    /// Without `positives` nobody's are: only a row's own item is no negative.
    pub(crate) fn new(train: &EncodedTable, sides: &Sides, originals: &Originals, positives: bool) -> Result<Self> {
        let narrow =
            |id: i64| u32::try_from(id).map_err(|_| OperatorError::invalid(format!("the id {id} is too large")));
        let items = train
            .single(&sides.item_id)?
            .iter()
            .map(|&item| narrow(item))
            .collect::<Result<Vec<u32>>>()?;
        let known = |&user: &i64| -> Result<Option<u32>> {
            if positives && !originals.is_reserved(user) {
                narrow(user).map(Some)
            } else {
                Ok(None)
            }
        };
        let users = train
            .single(&sides.user_id)?
            .iter()
            .map(known)
            .collect::<Result<Vec<Option<u32>>>>()?;
        let size = items.iter().max().map_or(0, |&id| id as usize + 1);
        let (mut counts, mut first) = (vec![0_u64; size], vec![0; size]);
        for (row, &item) in items.iter().enumerate() {
            if counts[item as usize] == 0 {
                first[item as usize] = row;
            }
            counts[item as usize] += 1;
        }
        let (mut catalogue, mut places) = (Vec::new(), vec![0; size]);
        for id in (0..size).filter(|&id| counts[id] > 0) {
            places[id] = catalogue.len() as u32;
            catalogue.push(first[id]);
        }
        let columns = sides
            .item
            .iter()
            .map(|column| train.cells(&column.name))
            .collect::<Result<Vec<&Cells>>>()?;
        let twin = |(row, &item): (usize, &u32)| {
            let first = first[item as usize];
            if columns.iter().all(|cells| cells.same(first, cells, row)) {
                first
            } else {
                row
            }
        };
        let twins = items.iter().enumerate().map(twin).collect();
        let total = items.len() as f64;
        let share = counts.iter().map(|&count| count as f64 / total).collect();
        let mut pairs: Vec<(u32, u32)> = users
            .iter()
            .zip(&items)
            .filter_map(|(user, item)| Some(((*user)?, *item)))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let size = pairs.last().map_or(0, |(user, _)| *user as usize + 1);
        let positives = Positives::new(size, &pairs);
        Ok(Sampling {
            share,
            positives,
            users,
            items,
            catalogue,
            places,
            twins,
        })
    }

    /// A row of each distinct item.
    pub(crate) fn catalogue(&self) -> &[usize] {
        &self.catalogue
    }

    /// The whole catalogue as candidates of these rows.
    pub(crate) fn everything(&self, rows: &[usize]) -> Drawn {
        Drawn {
            rows: self.catalogue.clone(),
            items: self.catalogue.iter().map(|&row| self.items[row]).collect(),
            log_q: vec![0.0; self.catalogue.len()],
            targets: rows
                .iter()
                .map(|&row| (self.places[self.items[row] as usize], 0.0))
                .collect(),
            beside: Vec::new(),
        }
    }

    /// The places in the catalogue of what the user of each row has interacted with, ascending: the row's own at least.
    pub(crate) fn known(&self, rows: &[usize]) -> Vec<Vec<u32>> {
        let known = |&row: &usize| {
            let own = std::slice::from_ref(&self.items[row]);
            let items = self.users[row].map_or(own, |user| self.positives.of(user));
            items.iter().map(|item| self.places[*item as usize]).collect()
        };
        rows.iter().map(known).collect()
    }

    /// The items of `rows`, of `uniform`, which were drawn evenly from the catalogue, and of `hard`, as candidates of
    /// `rows`. A candidate holds an item with the probability that this mixture has (Yang et al. 2020, mixed negative
    /// sampling). Several draws of one item count for the loss what they would count one by one.
    pub(crate) fn drawn(&self, rows: &[usize], uniform: &[usize], hard: &Hard, logq: bool) -> Drawn {
        let mut places: HashMap<usize, u32> = HashMap::with_capacity(rows.len());
        let mut drawn = Drawn::default();
        let mut counts: Vec<f64> = Vec::new();
        let hard_rows: Vec<usize> = hard.drawn.iter().map(|place| self.catalogue[*place as usize]).collect();
        for &row in rows.iter().chain(uniform).chain(&hard_rows) {
            let row = self.twins[row];
            let place = *places.entry(row).or_insert_with(|| {
                drawn.rows.push(row);
                counts.push(0.0);
                (counts.len() - 1) as u32
            });
            counts[place as usize] += 1.0;
            if drawn.targets.len() < rows.len() {
                drawn.targets.push((place, 0.0));
            } else {
                drawn.beside.push(place);
            }
        }
        drawn.items = drawn.rows.iter().map(|&row| self.items[row]).collect();
        let (own, other) = (rows.len() as f64, uniform.len() as f64);
        let probability = |&item: &u32| {
            let recommended = hard.expected.get(&self.places[item as usize]).copied().unwrap_or(0.0);
            let share = self.share[item as usize] * own + other / self.catalogue.len() as f64 + recommended;
            let draws = own + other + hard_rows.len() as f64;
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

    /// For each row an item that its user has not interacted with, drawn evenly from the catalogue; a row of it. Nothing,
    /// if chance finds none: the user knows nearly everything.
    pub(crate) fn unknown(&self, rows: &[usize], rng: &mut ChaCha8Rng) -> Vec<Option<usize>> {
        let draw = |row: &usize| {
            let (user, own) = (self.users[*row], self.items[*row]);
            let liked = user.map_or(&[][..], |user| self.positives.of(user));
            (0..DRAWS).find_map(|_| {
                let other = self.catalogue[rng.random_range(0..self.catalogue.len())];
                let item = self.items[other];
                // The pairs were sorted, and with them the items of a user.
                (item != own && liked.binary_search(&item).is_err()).then_some(other)
            })
        };
        rows.iter().map(draw).collect()
    }

    /// Which candidates are no negatives for these rows.
    pub(crate) fn mask(&self, rows: &[usize], drawn: &Drawn, mask: &mut Mask) {
        let users: Vec<Option<u32>> = rows.iter().map(|&row| self.users[row]).collect();
        let targets: Vec<u32> = drawn.targets.iter().map(|(place, _)| *place).collect();
        mask.fill(&self.positives, &users, &targets, &drawn.items, self.share.len());
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::contract::Column;
    use crate::retrieval::cells::Ids;

    /// Users and items of five rows; the last holds the item of the first with another shop.
    fn sampling(positives: bool) -> Sampling {
        let single = |name: &str, ids: [i64; 5]| (name.to_owned(), Cells::Ids(Ids::Single(ids.to_vec())));
        let columns = vec![
            single("user", [5, 5, 6, 0, 0]),
            single("item", [1, 2, 3, 1, 1]),
            single("shop", [7, 7, 7, 7, 8]),
        ];
        let column = |name: &str| Column::new(name, DataType::Int64, false);
        let sides = Sides {
            query: vec![column("user")],
            item: vec![column("item"), column("shop")],
            user_id: "user".to_owned(),
            item_id: "item".to_owned(),
        };
        let train = EncodedTable::of(columns, 5);
        Sampling::new(&train, &sides, &Originals::without_vocabulary(), positives).unwrap()
    }

    #[test]
    fn an_item_is_a_candidate_once_and_counts_for_every_draw() {
        let drawn = sampling(true).drawn(&[0, 2, 3, 1], &[], &Hard::default(), true);
        assert_eq!((&drawn.rows, &drawn.items), (&vec![0, 2, 1], &vec![1, 3, 2]));
        let places: Vec<u32> = drawn.targets.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0, 1, 0, 2]);
        let one = 0.6_f32.ln();
        assert!((drawn.targets[0].1 - one).abs() < 1e-6 && (drawn.log_q[0] - (one - 2.0_f32.ln())).abs() < 1e-6);
        // Rows that the item tower can tell apart stay apart.
        assert_eq!(sampling(true).drawn(&[0, 4], &[], &Hard::default(), true).rows, [0, 4]);
    }

    #[test]
    fn a_mixture_has_the_probability_of_both_ways_to_be_drawn() {
        let drawn = sampling(true).drawn(&[0, 2], &[1, 1], &Hard::default(), true);
        // One candidate in two is drawn evenly from three items, the other by frequency.
        assert!((drawn.targets[1].1 - (0.5_f32 / 5.0 + 0.5 / 3.0).ln()).abs() < 1e-6);
        assert_eq!(drawn.rows, [0, 2, 1]);
        assert!(
            sampling(true)
                .drawn(&[0, 2], &[1], &Hard::default(), false)
                .targets
                .iter()
                .all(|(_, log_q)| *log_q == 0.0)
        );
    }

    #[test]
    fn hard_negatives_are_as_likely_as_the_lists_of_the_users_make_them() {
        let hard = Hard {
            drawn: vec![1, 1],
            expected: [(1, 1.5), (2, 0.5)].into(),
        };
        let drawn = sampling(true).drawn(&[0, 2], &[], &hard, true);
        // The second item is no item of the batch: it is drawn with two draws in four, and a fifth of the rows hold it.
        assert_eq!((&drawn.items, drawn.targets.len()), (&vec![1, 3, 2], 2));
        let one = [(0.6 * 2.0) / 4.0, (0.2 * 2.0 + 0.5) / 4.0, (0.2 * 2.0 + 1.5) / 4.0_f32].map(f32::ln);
        for (place, count) in [(0, 1.0), (1, 1.0), (2, 2.0_f32)] {
            assert!((drawn.log_q[place] - (one[place] - count.ln())).abs() < 1e-6, "{place}");
        }
        assert_eq!(sampling(true).known(&[0, 2, 3]), [vec![0, 1], vec![2], vec![0]]);
    }

    #[test]
    fn nobody_has_no_positives() {
        for (positives, first) in [(true, 0b101), (false, 0b001)] {
            let sampling = sampling(positives);
            let rows = [0, 2, 3, 1];
            let mut mask = Mask::default();
            sampling.mask(&rows, &sampling.drawn(&rows, &[], &Hard::default(), true), &mut mask);
            assert_eq!((mask.line(0), mask.line(2)), (&[first][..], &[0b001][..]));
        }
    }

    #[test]
    fn everything_is_each_item_once() {
        let all = sampling(true).everything(&[3, 2]);
        assert_eq!((all.rows, all.items), (vec![0, 1, 2], vec![1, 2, 3]));
        assert_eq!(all.targets, [(0, 0.0), (2, 0.0)]);
    }
}
