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
    pub fn add(&mut self, values: &[i64], places: &mut Vec<u32>) {
        let most = values.iter().fold(0, |most, value| most | value);
        let wanted = (most as usize).saturating_add(1).min(NEAR).next_power_of_two();
        if wanted > self.near.len() {
            self.near_up_to(wanted);
        }
        places.extend(values.iter().map(|value| self.place(*value)));
    }

    /// A longer vector, with the places of all that it has room for.
    fn near_up_to(&mut self, length: usize) {
        self.near = vec![0; length];
        for (key, number) in self.keys.iter().zip(1..) {
            if let Some(place) = self.near.get_mut(*key as usize) {
                *place = number;
            }
        }
    }

    #[inline]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_first_occurrence_near_or_far() {
        let mut dictionary = IntegerDictionary::default();
        let mut places = Vec::new();
        // 70,000 is far until an integer comes that makes the vector longer.
        dictionary.add(&[5, -1, 1 << 40, 5], &mut places);
        dictionary.add(&[70_000, i64::MIN, 5, 1 << 40], &mut places);
        dictionary.add(&[70_000, 131_071, 131_072, 70_000], &mut places);
        assert_eq!(places, [0, 1, 2, 0, 3, 4, 0, 2, 3, 5, 6, 3]);
        let keys = [5, -1, 1 << 40, 70_000, i64::MIN, 131_071, 131_072];
        assert_eq!(dictionary.keys(), keys);
        dictionary.truncate(2);
        assert_eq!(dictionary.keys(), &keys[..2]);
        places.clear();
        dictionary.add(&[9, -1], &mut places);
        assert_eq!(places, [2, 1]);
    }

    #[test]
    fn a_key_keeps_its_place_when_the_vector_grows_over_it() {
        let mut dictionary = IntegerDictionary::default();
        let mut places = Vec::new();
        dictionary.add(&[1], &mut places);
        dictionary.add(&[3, 100, 3, 1], &mut places);
        dictionary.add(&(0..5000).map(|key| key * 977).collect::<Vec<_>>(), &mut places);
        dictionary.add(&[977, 1, 100], &mut places);
        assert_eq!(places[..5], [0, 1, 2, 1, 0]);
        let place = |key: i64| dictionary.keys().iter().position(|known| *known == key).unwrap() as u32;
        assert_eq!(places[places.len() - 3..], [place(977), 0, 2]);
        assert_eq!(dictionary.keys().len(), 3 + 5000);
    }
}
