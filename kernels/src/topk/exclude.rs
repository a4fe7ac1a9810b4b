//! Items that a user must not get.

/// Items that a user must not get, by their places in the order in which they were given.
#[derive(Debug, Clone, Copy, Default)]
pub enum Excluded<'a> {
    /// None.
    #[default]
    Nothing,
    /// These places, ascending and each once.
    Rows(&'a [u32]),
    /// Place `p` is excluded if bit `p mod 64` of word `p / 64` is set; places beyond the words are not.
    Bits(&'a [u64]),
}

impl Excluded<'_> {
    /// Whether an item is excluded.
    #[inline]
    pub(crate) fn has(&self, row: u32) -> bool {
        match self {
            Excluded::Nothing => false,
            Excluded::Rows(rows) => rows.binary_search(&row).is_ok(),
            Excluded::Bits(words) => words
                .get(row as usize / 64)
                .is_some_and(|word| word >> (row % 64) & 1 == 1),
        }
    }

    /// How many items at most are excluded.
    pub(crate) fn count(&self) -> usize {
        match self {
            Excluded::Nothing => 0,
            Excluded::Rows(rows) => rows.len(),
            Excluded::Bits(words) => words.iter().map(|word| word.count_ones() as usize).sum(),
        }
    }
}
