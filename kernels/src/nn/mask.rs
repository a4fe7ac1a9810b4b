//! Which items of a batch are no negatives for which rows.

use std::collections::HashMap;

/// What each user likes: the items of user `u` are `items[offsets[u]..offsets[u + 1]]`.
#[derive(Debug, Clone, Default)]
pub struct Positives {
    offsets: Vec<usize>,
    items: Vec<u32>,
}

impl Positives {
    /// Gathers (user, item) pairs; users are `0..users`.
    ///
    /// # Panics
    /// If a user is not below `users`.
    pub fn new(users: usize, pairs: &[(u32, u32)]) -> Self {
        let mut offsets = vec![0_usize; users + 1];
        for (user, _) in pairs {
            offsets[*user as usize + 1] += 1;
        }
        for user in 0..users {
            offsets[user + 1] += offsets[user];
        }
        let mut next = offsets.clone();
        let mut items = vec![0; pairs.len()];
        for (user, item) in pairs {
            items[next[*user as usize]] = *item;
            next[*user as usize] += 1;
        }
        Positives { offsets, items }
    }

    /// The items of a user, in the order in which they were given.
    ///
    /// # Panics
    /// If the user is not one of those that were announced.
    pub fn of(&self, user: u32) -> &[u32] {
        &self.items[self.offsets[user as usize]..self.offsets[user as usize + 1]]
    }
}

/// A line of bits per user of a batch: 1 for a candidate that is no negative.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    words: usize,
    lines: Vec<u64>,
    line_of: Vec<u32>,
    /// The last candidate that holds an item, and the one before a candidate that holds the same; both plus 1.
    head: Vec<u32>,
    before: Vec<u32>,
}

impl Mask {
    /// Marks for the rows of a batch the candidates that hold the row's own item or, where its user is known, another
    /// positive of that user. Row `r` is of `users[r]` and `candidates[targets[r]]`.
    ///
    /// # Panics
    /// If an item is not below `items`, or a user not one of `positives`.
    pub fn fill(
        &mut self,
        positives: &Positives,
        users: &[Option<u32>],
        targets: &[u32],
        candidates: &[u32],
        items: usize,
    ) {
        self.words = candidates.len().div_ceil(64);
        self.head.resize(items, 0);
        self.before.clear();
        for (place, &item) in candidates.iter().enumerate() {
            self.before.push(self.head[item as usize]);
            self.head[item as usize] = place as u32 + 1;
        }
        self.lines.clear();
        self.line_of.clear();
        let mut known: HashMap<(Option<u32>, u32), u32> = HashMap::new();
        for (user, &target) in users.iter().zip(targets) {
            let own = candidates[target as usize];
            // A user's rows share a line; who has no name shares one by the item.
            let key = if user.is_some() { (*user, 0) } else { (None, own) };
            let next = known.len() as u32;
            let line = *known.entry(key).or_insert_with(|| {
                let start = self.lines.len();
                self.lines.resize(start + self.words, 0);
                let line = &mut self.lines[start..];
                let items = user.map_or(std::slice::from_ref(&own), |user| positives.of(user));
                for &item in items {
                    let mut place = self.head[item as usize];
                    while place > 0 {
                        let at = place as usize - 1;
                        line[at / 64] |= 1 << (at % 64);
                        place = self.before[at];
                    }
                }
                next
            });
            self.line_of.push(line);
        }
        for item in candidates {
            self.head[*item as usize] = 0;
        }
    }

    /// The line of a row of the batch.
    pub fn line(&self, row: usize) -> &[u64] {
        &self.lines[self.line_of[row] as usize * self.words..][..self.words]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_items_and_other_positives_are_no_negatives() {
        // User 0 likes items 1 and 2, user 1 likes 3.
        let positives = Positives::new(2, &[(0, 1), (1, 3), (0, 2)]);
        let mut mask = Mask::default();
        for _ in 0..2 {
            mask.fill(
                &positives,
                &[Some(0), Some(1), None, Some(0)],
                &[0, 1, 2, 3],
                &[1, 3, 1, 2, 0],
                5,
            );
            assert_eq!(mask.line(0), [0b01101]);
            assert_eq!(mask.line(1), [0b00010]);
            assert_eq!(mask.line(2), [0b00101], "nobody has no positives but the row's own");
            assert_eq!(mask.line(3), mask.line(0));
        }
    }
}
