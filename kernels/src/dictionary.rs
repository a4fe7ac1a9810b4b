//! Integers numbered in the order in which they first occur.

/// Integers below this have a place in a plain vector, as most ids can have.
const NEAR: usize = 1 << 17;
/// Odd, and without a pattern in its bits: the fractional part of the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Different integers, each with its place among them.
#[derive(Debug, Default)]
pub struct IntegerDictionary {
    keys: Vec<i64>,
    /// The places of small integers plus 1, 0 where there is none.
    near: Vec<u32>,
    /// The others with their places plus 1, by their hash; as many slots as a power of two, a quarter of them taken at most.
    far: Vec<(i64, u32)>,
    far_taken: usize,
}

impl IntegerDictionary {
    /// The integers in the order of their places.
    pub fn keys(&self) -> &[i64] {
        &self.keys
    }

    /// Appends the place of each integer; those that are new get the next ones. There is room for 2^32 - 1.
    pub fn add<T: Copy + Into<i64>>(&mut self, values: &[T], places: &mut Vec<u32>) {
        if self.near.is_empty() {
            self.near = vec![0; NEAR];
        }
        places.extend(values.iter().map(|value| self.place((*value).into())));
    }

    fn place(&mut self, key: i64) -> u32 {
        // Negative ones are beyond every vector.
        let Some(place) = self.near.get_mut(key as usize) else {
            return self.far(key) - 1;
        };
        if *place == 0 {
            self.keys.push(key);
            *place = self.keys.len() as u32;
        }
        *place - 1
    }

    /// The place plus 1 of an integer that has none in the vector.
    fn far(&mut self, key: i64) -> u32 {
        if 4 * self.far_taken >= self.far.len() {
            self.grow();
        }
        let slot = free_or_own(&self.far, key);
        let (_, place) = self.far[slot];
        if place != 0 {
            return place;
        }
        self.keys.push(key);
        let place = self.keys.len() as u32;
        self.far[slot] = (key, place);
        self.far_taken += 1;
        place
    }

    fn grow(&mut self) {
        let slots = vec![(0, 0); (2 * self.far.len()).max(64)];
        let old = std::mem::replace(&mut self.far, slots);
        for (key, place) in old.into_iter().filter(|(_, place)| *place != 0) {
            let slot = free_or_own(&self.far, key);
            self.far[slot] = (key, place);
        }
    }

    /// Forgets all but the first integers.
    pub fn truncate(&mut self, length: usize) {
        let kept = self.keys.get(..length).unwrap_or(&self.keys).to_vec();
        *self = IntegerDictionary::default();
        self.add(&kept, &mut Vec::new());
    }
}

/// The slot that an integer has or would get.
fn free_or_own(slots: &[(i64, u32)], key: i64) -> usize {
    let mask = slots.len() - 1;
    let mut slot = ((key as u64).wrapping_mul(SPREAD) >> 32) as usize & mask;
    while slots[slot].1 != 0 && slots[slot].0 != key {
        slot = (slot + 1) & mask;
    }
    slot
}
