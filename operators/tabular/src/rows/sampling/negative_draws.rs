//! What `NegativeSample` draws for each row: the same whether everything fits into memory or not.
//!
//! A row draws from a stream of its own, so that rows can be drawn for in any order. Where the pairs of users and items do
//! not fit into memory, the users are divided: each pass holds the pairs of a part of them, draws for their rows, and
//! writes down what it drew.

use std::iter::Peekable;
use std::path::Path;

use hashbrown::HashSet;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::rows::row_numbers::{AtRandom, MISSING, NumberReader, NumberWriter, Numbers};
use towline_api::{Cancel, OperatorError, Result};
use towline_tables::sorted_runs::{Merged, Runs};

/// How many items are drawn before a row goes without a negative: a user who chose nearly everything has few others.
const TRIES: usize = 100;
/// What a pair takes in a set at the load that it has on average, and in the smaller one while it grows.
const PAIR_BYTES: usize = 24;
/// What a draw takes while it is sorted and written.
const DRAW_BYTES: usize = 48;
/// Between the streams of two rows are two to this many words: more than 1000 negatives of 100 tries can take.
const STREAM_BITS: u32 = 20;
/// Rows between two looks at whether to stop.
const LOOK_EVERY: usize = 1 << 16;

/// Where items are drawn from: the rows of a split that have an item, or the first of each item.
pub(crate) struct Candidates {
    /// Which row of the split each candidate is; none if all rows are.
    pub(crate) rows: Option<Numbers>,
    /// The items by number: of the candidates, or of all rows of all splits.
    items: AtRandom,
    /// The first candidate among the items.
    first: usize,
    count: usize,
}

impl Candidates {
    /// Candidates out of the rows `range` of all; with `once`, each item once.
    pub(crate) fn of(
        items: &mut Numbers,
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
        let (mut rows, mut own) = (NumberWriter::in_folder(folder)?, NumberWriter::in_folder(folder)?);
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

    /// The number of a candidate's item.
    fn item(&self, candidate: usize) -> Result<u32> {
        self.items.get(self.first + candidate)
    }
}

/// What decides what is drawn.
pub(crate) struct Drawing {
    pub(crate) negatives: u64,
    pub(crate) seed: u64,
    /// How many rows each split has.
    pub(crate) splits: Vec<usize>,
    pub(crate) candidates: Candidates,
}

impl Drawing {
    /// The candidates drawn for a row of a split, whose user is one of those that `chosen` knows everything about.
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

/// What is drawn, row by row.
pub(crate) enum Draws {
    /// As it is asked for.
    Now {
        drawing: Drawing,
        chosen: HashSet<(u32, u32)>,
        users: NumberReader,
    },
    /// What was drawn before, by row, in order.
    Before(Peekable<Merged<(i64, u64)>>),
}

impl Draws {
    /// Draws for all rows, in no more than about `limit` bytes of memory.
    pub(crate) fn of(
        drawing: Drawing,
        users: &mut Numbers,
        items: &mut Numbers,
        limit: usize,
        folder: &Path,
        cancel: &Cancel,
    ) -> Result<Self> {
        // Numbers follow one another, so that their rests divide the users evenly.
        let most = users.rows.saturating_mul(PAIR_BYTES);
        let parts = u32::try_from(most.div_ceil((limit / 2).max(1)).max(1)).unwrap_or(u32::MAX);
        if parts == 1 {
            let chosen = chosen(users, items, (0, 1), cancel)?;
            let users = users.reader()?;
            return Ok(Draws::Now { drawing, chosen, users });
        }
        let mut runs = Runs::in_folder(folder);
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

    /// What is drawn for the next row, which is this one: candidates.
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

/// The pairs of users and items in the rows of one part of the users.
fn chosen(
    users: &mut Numbers,
    items: &mut Numbers,
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
