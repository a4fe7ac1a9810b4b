//! Integers counted and looked up: the two loops of encoding categories.

use hashbrown::HashMap;

/// Up to here integers are counted in a plain vector from the start.
const SMALL: usize = 1 << 16;
/// Integers that are looked at together.
const GROUP: usize = 8;
/// Integers that are looked up together.
const TOGETHER: usize = 64;
/// A vector of this many ids is worth having however few of its places are taken: memory that is not touched is none.
const SPARSE: usize = 1 << 20;
/// A counted integer in the hash map: key, count and control byte at the load that a growing table has on average, and
/// the old table while it grows.
const LARGE_BYTES: usize = 48;

/// The same integers with twice as many bits.
pub fn widened(values: &[i32]) -> Vec<i64> {
    values.iter().map(|value| i64::from(*value)).collect()
}

/// How often each integer occurs. Those that are not much larger than the number of integers seen are counted in a plain
/// vector, as most ids can be; the others in a hash map.
#[derive(Debug, Default)]
pub struct IntegerCounts {
    small: Vec<u64>,
    large: HashMap<i64, u64>,
    seen: usize,
}

impl IntegerCounts {
    /// Counts all of them. The plain vector takes no more than `limit` bytes beyond what small integers need.
    pub fn add(&mut self, keys: &[i64], limit: usize) {
        self.seen += keys.len();
        let highest = keys.iter().max().and_then(|key| usize::try_from(*key).ok());
        if let Some(wanted) = highest.map(|key| key + 1).filter(|wanted| *wanted > self.small.len()) {
            let most = SMALL.max((4 * self.seen).min(limit / size_of::<u64>()));
            let length = wanted
                .checked_next_power_of_two()
                .map_or(most, |length| length.min(most));
            if length > self.small.len() {
                self.small.resize(length, 0);
            }
        }
        let mut groups = keys.chunks_exact(GROUP);
        for group in &mut groups {
            // One sum after the other in the same place is slow, and sorted columns are nothing else.
            if group.iter().all(|key| *key == group[0]) {
                self.count(group[0], GROUP as u64);
            } else {
                for key in group {
                    self.count(*key, 1);
                }
            }
        }
        for key in groups.remainder() {
            self.count(*key, 1);
        }
    }

    #[inline(always)]
    fn count(&mut self, key: i64, times: u64) {
        // Negative ones are beyond every vector.
        match self.small.get_mut(key as usize) {
            Some(count) => *count += times,
            None => self.count_large(key, times),
        }
    }

    // Within the loop it would keep that from being a short one.
    #[inline(never)]
    fn count_large(&mut self, key: i64, times: u64) {
        *self.large.entry(key).or_insert(0) += times;
    }

    /// About how many bytes it takes, small integers left out.
    pub fn bytes(&self) -> usize {
        let small = (self.small.len() * size_of::<u64>()).saturating_sub(SMALL * size_of::<u64>());
        small + self.large.len() * LARGE_BYTES
    }

    /// What it has counted so far, in any order and one integer perhaps twice. It begins anew.
    pub fn take(&mut self) -> Vec<(i64, u64)> {
        self.seen = 0;
        let small = std::mem::take(&mut self.small);
        let large = std::mem::take(&mut self.large);
        let mut all = Vec::with_capacity(large.len());
        all.extend(large);
        all.extend((0..).zip(small).filter(|(_, count)| *count > 0));
        all
    }

    /// Everything that it has counted, each integer once and in any order.
    pub fn finish(mut self) -> Vec<(i64, u64)> {
        let IntegerCounts { small, large, .. } = &mut self;
        // The vector may have grown over integers that were in the map already.
        large.retain(|key, count| match small.get_mut(*key as usize) {
            Some(total) => {
                *total += *count;
                false
            }
            None => true,
        });
        self.take()
    }
}

/// Puts integers with a number each in ascending order.
pub fn sort(pairs: &mut [(i64, u64)]) {
    pairs.sort_unstable();
}

/// Puts counted integers in order: the most frequent first, equally frequent ones ascending.
pub fn rank(counted: &mut [(i64, u64)]) {
    counted.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
}

/// The ids of integers.
#[derive(Debug)]
pub struct IntegerIds(Places);

#[derive(Debug)]
enum Places {
    /// `ids[key - first]`, 0 where there is none: for keys that lie close together.
    Dense { first: i64, ids: Vec<u32> },
    /// Where a key is among all of them, by its hash.
    Sparse(Sparse),
}

/// Keys and, by their hash, their places plus 1 in as many slots as a power of two; a free slot has 0.
#[derive(Debug)]
struct Sparse {
    keys: Vec<i64>,
    slots: Vec<u32>,
    /// The hash is shifted by so many bits.
    shift: u32,
    first_id: i64,
}

impl Sparse {
    fn new(keys: Vec<i64>, first_id: i64) -> Self {
        let length = (keys.len() + keys.len() / 2).next_power_of_two().max(2);
        let mut sparse = Sparse {
            slots: vec![0; length],
            shift: u64::BITS - length.trailing_zeros(),
            keys,
            first_id,
        };
        for (key, number) in sparse.keys.iter().zip(1..) {
            let mut slot = sparse.slot(*key);
            while sparse.slots[slot] != 0 {
                slot = (slot + 1) & (length - 1);
            }
            sparse.slots[slot] = number;
        }
        sparse
    }

    /// Where the search for a key begins.
    fn slot(&self, key: i64) -> usize {
        let mixed = key as u64 ^ (key as u64 >> 32);
        (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    /// The ids of a few keys. Most are in the first slot that is looked at: the steps follow one another for all keys at
    /// once and without a branch, so that the memory is waited for once and not for every key.
    fn of(&self, wanted: &[i64], ids: &mut Vec<i64>) {
        let numbers: [u32; TOGETHER] = std::array::from_fn(|index| {
            let key = wanted.get(index).copied().unwrap_or_default();
            self.slots[self.slot(key)]
        });
        let found: [i64; TOGETHER] =
            std::array::from_fn(|index| self.keys[(numbers[index] as usize).saturating_sub(1)]);
        let each = wanted.iter().zip(numbers).zip(found);
        ids.extend(each.map(|((key, number), found)| {
            if number == 0 {
                0
            } else if found == *key {
                self.first_id + i64::from(number) - 1
            } else {
                self.further(*key)
            }
        }));
    }

    /// The id of a key that is not in the first slot.
    fn further(&self, key: i64) -> i64 {
        let mask = self.slots.len() - 1;
        let mut slot = (self.slot(key) + 1) & mask;
        loop {
            match self.slots[slot] {
                0 => return 0,
                number if self.keys[number as usize - 1] == key => return self.first_id + i64::from(number) - 1,
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

impl IntegerIds {
    /// The first of the keys, which are all different, has the id `first_id`, the next one the next. None if the last id
    /// does not fit into 32 bits.
    pub fn new(keys: Vec<i64>, first_id: i64) -> Option<Self> {
        let last = i64::try_from(keys.len()).ok()?.checked_add(first_id)?;
        let (first_number, _) = (u32::try_from(first_id).ok()?, u32::try_from(last).ok()?);
        let (low, high) = (keys.iter().min().copied(), keys.iter().max().copied());
        let span = low.zip(high).and_then(|(low, high)| high.checked_sub(low));
        let span = span.and_then(|span| usize::try_from(span).ok());
        // No keys are close together, too.
        let (first, span) = (low.unwrap_or_default(), span.or(keys.is_empty().then_some(0)));
        let Some(span) = span.filter(|span| *span < SPARSE.max(8 * keys.len())) else {
            return Some(IntegerIds(Places::Sparse(Sparse::new(keys, first_id))));
        };
        let mut ids = vec![0; span + 1];
        for (key, id) in keys.iter().zip(first_number..) {
            ids[(key - first) as usize] = id;
        }
        Some(IntegerIds(Places::Dense { first, ids }))
    }

    /// The id of each key, 0 for those that have none.
    pub fn of(&self, wanted: &[i64]) -> Vec<i64> {
        match &self.0 {
            Places::Dense { first, ids } => {
                let id = |key: &i64| {
                    ids.get(key.wrapping_sub(*first) as usize)
                        .map_or(0, |id| i64::from(*id))
                };
                wanted.iter().map(id).collect()
            }
            Places::Sparse(sparse) => {
                let mut ids = Vec::with_capacity(wanted.len());
                for some in wanted.chunks(TOGETHER) {
                    sparse.of(some, &mut ids);
                }
                ids
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const KEYS: [i64; 9] = [3, 70_000, -1, 3, i64::MAX, i64::MIN, 70_000, 0, 5_000_000];

    fn expected(times: u64) -> BTreeMap<i64, u64> {
        KEYS.iter().fold(BTreeMap::new(), |mut counts, key| {
            *counts.entry(*key).or_default() += times;
            counts
        })
    }

    #[test]
    fn each_integer_is_counted_once_whether_it_began_in_the_map_or_not() {
        for limit in [0, usize::MAX] {
            let mut counts = IntegerCounts::default();
            counts.add(&KEYS, limit);
            // So many integers that 70,000 moves into the vector.
            counts.add(&vec![1; 100_000], limit);
            counts.add(&KEYS, limit);
            let mut all = counts.finish();
            all.sort_unstable();
            let mut wanted = expected(2);
            wanted.insert(1, 100_000);
            assert_eq!(all, wanted.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_taken_adds_up_and_memory_is_given_back() {
        let mut counts = IntegerCounts::default();
        let mut sums: BTreeMap<i64, u64> = BTreeMap::new();
        for _ in 0..2 {
            counts.add(&KEYS, usize::MAX);
            assert!(counts.bytes() > 0);
            for (key, count) in counts.take() {
                *sums.entry(key).or_default() += count;
            }
            assert_eq!(counts.bytes(), 0);
        }
        assert_eq!(sums, expected(2));
    }

    #[test]
    fn ids_follow_the_keys_close_together_or_not() {
        let close: Vec<i64> = (0..1000).map(|key| 500 - key).collect();
        let far: Vec<i64> = (0..1000)
            .map(|key: i64| key.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64))
            .collect();
        for keys in [close, far] {
            let ids = IntegerIds::new(keys.clone(), 3).unwrap();
            assert_eq!(ids.of(&keys), (3..1003).collect::<Vec<i64>>());
            assert_eq!(ids.of(&[i64::MIN, i64::MAX, 501, keys[7]]), [0, 0, 0, 10]);
        }
        // Every step of the search: keys that begin it in the same slot.
        let many: Vec<i64> = (0..100_000).map(|key: i64| (key << 40) - (key << 7)).collect();
        let ids = IntegerIds::new(many.clone(), 3).unwrap();
        assert_eq!(ids.of(&many), (3..100_003).collect::<Vec<i64>>());
        assert_eq!(ids.of(&[1, many[4], 2, -1]), [0, 7, 0, 0]);
        assert_eq!(IntegerIds::new(Vec::new(), 2).unwrap().of(&[0, 1]), [0, 0]);
        assert!(IntegerIds::new(vec![1], i64::from(u32::MAX)).is_none());
    }
}
