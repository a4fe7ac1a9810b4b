//! The best items so far.

use super::score::Hit;

/// The `k` best items so far. An item and its score are one number, greater where the item is better: the score's bits in
/// an order that ascends with the score, above the complement of the place.
#[derive(Debug, Clone)]
pub(crate) struct Best {
    k: usize,
    /// A heap once there are `k`, the worst first.
    keys: Vec<u64>,
}

impl Best {
    pub(crate) fn new(k: usize) -> Self {
        Best {
            k,
            keys: Vec::with_capacity(k),
        }
    }

    /// Takes an item if it is better than the worst of `k`. Returns the score of the then worst, once there are `k`.
    #[inline]
    pub(crate) fn push(&mut self, score: f32, row: u32) -> Option<f32> {
        let key = u64::from(ascending(score)) << 32 | u64::from(!row);
        if self.keys.len() < self.k {
            self.keys.push(key);
            if self.keys.len() < self.k {
                return None;
            }
            for place in (0..self.k / 2).rev() {
                self.sift(place);
            }
            return Some(self.floor());
        }
        if key <= *self.keys.first()? {
            return None;
        }
        self.keys[0] = key;
        self.sift(0);
        Some(self.floor())
    }

    fn floor(&self) -> f32 {
        score_of(self.keys[0])
    }

    fn sift(&mut self, mut place: usize) {
        let key = self.keys[place];
        loop {
            let mut child = 2 * place + 1;
            if child >= self.keys.len() {
                break;
            }
            if child + 1 < self.keys.len() && self.keys[child + 1] < self.keys[child] {
                child += 1;
            }
            if key <= self.keys[child] {
                break;
            }
            self.keys[place] = self.keys[child];
            place = child;
        }
        self.keys[place] = key;
    }

    /// The items, best first.
    pub(crate) fn into_hits(mut self) -> Vec<Hit> {
        self.keys.sort_unstable_by(|a, b| b.cmp(a));
        self.keys
            .iter()
            .map(|&key| Hit {
                row: !(key as u32),
                score: score_of(key),
            })
            .collect()
    }
}

fn ascending(score: f32) -> u32 {
    let bits = score.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn score_of(key: u64) -> f32 {
    let bits = (key >> 32) as u32;
    f32::from_bits(if bits >> 31 == 1 { bits ^ 1 << 31 } else { !bits })
}
