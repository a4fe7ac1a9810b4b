//! Draws negatives for each row, with the same result in memory and on disk.
//!
//! Every row has its own random stream, so rows can be processed in any order. If the user-item pairs exceed the memory
//! limit, users are partitioned: each pass loads the pairs of one partition, draws for its rows, and spills the draws.

use std::iter::Peekable;
use std::path::Path;

use hashbrown::HashSet;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::rows::row_numbers::{CodeReader, CodeWriter, CodedColumn, MISSING, RandomAccessCodes};
use towline_api::{Cancel, OperatorError, Result};
use towline_tables::spill::external_sort::{Merged, SortedRuns};

/// Attempts before a row gets no negative: almost all items are positives of its user.
const TRIES: usize = 100;
/// Memory per pair in a hash set, at average load and with the smaller table during growth.
const PAIR_BYTES: usize = 24;
/// Memory per draw while draws are sorted and written.
const DRAW_BYTES: usize = 48;
/// Log2 of the distance between two rows' streams in words: more than 1000 negatives with 100 attempts use.
const STREAM_BITS: u32 = 20;
/// Rows between two checks for cancellation.
const LOOK_EVERY: usize = 1 << 16;

/// The candidates to draw from: the rows of a split that have an item, or the first row of each item.
pub(crate) struct Candidates {
    /// Row number of each candidate in the split; `None` if every row is a candidate.
    pub(crate) rows: Option<CodedColumn>,
    /// Item codes: of the candidates, or of all rows of all splits.
    items: RandomAccessCodes,
    /// Index of the first candidate in `items`.
    first: usize,
    count: usize,
}

impl Candidates {
    /// Candidates from the rows `range`; with `once`, one per item.
    pub(crate) fn of(
        items: &mut CodedColumn,
        range: std::ops::Range<usize>,
        once: bool,
        limit: usize,
        folder: &Path,
    ) -> Result<Self> {
        if range.len() > u32::MAX as usize {
            return Err(OperatorError::invalid("there are more than 2^32 rows to draw from"));
        }
        if !once && items.missing == 0 {
            return Ok(Candidates {
                rows: None,
                items: items.at_random(limit)?,
                first: range.start,
                count: range.len(),
            });
        }
        let mut reader = items.reader()?;
        for _ in 0..range.start {
            reader.next()?;
        }
        let mut seen = vec![0_u64; if once { items.distinct.div_ceil(64) } else { 0 }];
        let (mut rows, mut own) = (CodeWriter::in_folder(folder)?, CodeWriter::in_folder(folder)?);
        for row in 0..range.len() as u32 {
            let item = reader.next()?;
            if item == MISSING {
                continue;
            }
            if once {
                let (word, bit) = (&mut seen[item as usize / 64], 1 << (item % 64));
                if *word & bit != 0 {
                    continue;
                }
                *word |= bit;
            }
            rows.push(row)?;
            own.push(item)?;
        }
        let mut own = own.finish(items.distinct)?;
        let rows = rows.finish(own.rows)?;
        Ok(Candidates {
            items: own.at_random(limit)?,
            first: 0,
            count: own.rows,
            rows: Some(rows),
        })
    }

    /// The item code of a candidate.
    fn item(&self, candidate: usize) -> Result<u32> {
        self.items.get(self.first + candidate)
    }
}

/// Parameters of the draws.
pub(crate) struct Drawing {
    pub(crate) negatives: u64,
    pub(crate) seed: u64,
    /// Number of rows of each split.
    pub(crate) splits: Vec<usize>,
    pub(crate) candidates: Candidates,
}

impl Drawing {
    /// Candidates for a row of a split. `chosen` has all pairs of the row's user.
    fn draw(&self, (split, row): (usize, usize), user: u32, chosen: &HashSet<(u32, u32)>) -> Result<Vec<u32>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(split as u64);
        random.set_word_pos((row as u128) << STREAM_BITS);
        let mut drawn = Vec::new();
        if self.candidates.count == 0 {
            return Ok(drawn);
        }
        for _ in 0..self.negatives {
            for _ in 0..TRIES {
                let candidate = random.random_range(0..self.candidates.count);
                if !chosen.contains(&(user, self.candidates.item(candidate)?)) {
                    drawn.push(candidate as u32);
                    break;
                }
            }
        }
        Ok(drawn)
    }
}

/// The draws, in row order.
pub(crate) enum Draws {
    /// Computed on demand.
    Now {
        drawing: Drawing,
        chosen: HashSet<(u32, u32)>,
        users: CodeReader,
    },
    /// Spilled before, sorted by row.
    Before(Peekable<Merged<i64>>),
}

impl Draws {
    /// Draws for all rows with about `limit` bytes of memory.
    pub(crate) fn of(
        drawing: Drawing,
        users: &mut CodedColumn,
        items: &mut CodedColumn,
        limit: usize,
        folder: &Path,
        cancel: &Cancel,
    ) -> Result<Self> {
        // Codes are consecutive, so their remainders partition the users evenly.
        let most = users.rows.saturating_mul(PAIR_BYTES);
        let parts = u32::try_from(most.div_ceil((limit / 2).max(1)).max(1)).unwrap_or(u32::MAX);
        if parts == 1 {
            let chosen = chosen(users, items, (0, 1), cancel)?;
            let users = users.reader()?;
            return Ok(Draws::Now { drawing, chosen, users });
        }
        let mut runs = SortedRuns::in_folder(folder);
        let mut kept = Vec::new();
        for part in 0..parts {
            let chosen = chosen(users, items, (part, parts), cancel)?;
            let (mut reader, mut index) = (users.reader()?, 0_usize);
            for (split, rows) in drawing.splits.iter().enumerate() {
                for row in 0..*rows {
                    if index.is_multiple_of(LOOK_EVERY) {
                        cancel.check()?;
                    }
                    let user = reader.next()?;
                    if user % parts == part {
                        let drawn = drawing.draw((split, row), user, &chosen)?;
                        let numbered = (0_u64..).zip(drawn);
                        kept.extend(numbered.map(|(n, place)| (index as i64, n << u32::BITS | u64::from(place))));
                    }
                    if kept.len() * DRAW_BYTES > limit / 2 {
                        runs.write(std::mem::take(&mut kept))?;
                    }
                    index += 1;
                }
            }
        }
        runs.write(kept)?;
        Ok(Draws::Before(runs.merged()?.peekable()))
    }

    /// The candidates for the next row.
    pub(crate) fn next(&mut self, split: usize, row: usize, index: usize) -> Result<Vec<u32>> {
        match self {
            Draws::Now { drawing, chosen, users } => drawing.draw((split, row), users.next()?, chosen),
            Draws::Before(all) => {
                let own = |entry: &Result<(i64, u64)>| !matches!(entry, Ok((other, _)) if *other != index as i64);
                let mut drawn = Vec::new();
                while let Some(entry) = all.next_if(own) {
                    drawn.push(entry?.1 as u32);
                }
                Ok(drawn)
            }
        }
    }
}

/// The user-item pairs in the rows of one partition of the users.
fn chosen(
    users: &mut CodedColumn,
    items: &mut CodedColumn,
    (part, parts): (u32, u32),
    cancel: &Cancel,
) -> Result<HashSet<(u32, u32)>> {
    let (mut users_of, mut items_of) = (users.reader()?, items.reader()?);
    let mut chosen = HashSet::new();
    for row in 0..users.rows {
        if row.is_multiple_of(LOOK_EVERY) {
            cancel.check()?;
        }
        let (user, item) = (users_of.next()?, items_of.next()?);
        if user % parts == part {
            chosen.insert((user, item));
        }
    }
    Ok(chosen)
}
