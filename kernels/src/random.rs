//! Scores by chance that are the same on every machine and in every order.

/// The score of an item for a user, below 2^53: both hashed with the seed (Steele, Lea and Flood 2014, SplitMix64).
pub fn chance(seed: u64, user: u64, item: u64) -> u64 {
    mix(mix(mix(seed) ^ user) ^ item) >> 11
}

fn mix(x: u64) -> u64 {
    mixed(x.wrapping_add(0x9E37_79B9_7F4A_7C15))
}

/// Mixes the bits of a number: what SplitMix64 does to its state. 0 stays 0.
#[inline]
pub fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The `k` items with the highest scores but those in `exclude` (ascending places in `items`), best first; of equal ones
/// the earlier comes first. `items` are the numbers of the items.
pub fn by_chance(seed: u64, user: u64, items: &[u64], exclude: &[u32], k: usize) -> Vec<u32> {
    let start = mix(mix(seed) ^ user);
    let mut best: Vec<(u64, u32)> = Vec::with_capacity(2 * k + 1);
    let mut floor = 0;
    for (place, item) in items.iter().enumerate() {
        let score = mix(start ^ item) >> 11;
        if (score > floor || best.len() < k) && exclude.binary_search(&(place as u32)).is_err() {
            best.push((score, place as u32));
            if best.len() > 2 * k {
                floor = keep(&mut best, k);
            }
        }
    }
    keep(&mut best, k);
    best.into_iter().map(|(_, place)| place).collect()
}

/// Keeps the `k` best, in order; returns the score of the worst.
fn keep(best: &mut Vec<(u64, u32)>, k: usize) -> u64 {
    best.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    best.truncate(k);
    best.last().map_or(0, |(score, _)| *score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_the_head_of_a_full_sort() {
        // The first number of the sequence that the authors publish for seed 0.
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        let items: Vec<u64> = (0..500).map(|place| place * 3 % 250).collect();
        for user in 0..20 {
            let mut all: Vec<u32> = (0..500).filter(|place: &u32| !place.is_multiple_of(7)).collect();
            all.sort_by_key(|place| std::cmp::Reverse(chance(9, user, items[*place as usize])));
            let exclude: Vec<u32> = (0..500).filter(|place: &u32| place.is_multiple_of(7)).collect();
            assert_eq!(by_chance(9, user, &items, &exclude, 12), all[..12]);
        }
        assert_eq!(by_chance(1, 1, &[4, 5], &[0], 12), [1]);
    }
}
