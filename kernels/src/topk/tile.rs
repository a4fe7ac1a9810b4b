//! Users that are scored together.

use super::best::Best;
use super::bound::{BlockFacts, LONGEST, LaneFacts, UP, canonical, length, sequential, underflow};
use super::items::{Items, rounded, scale_for};
use super::propose::{Maxima, Packed, Proposed, pack_bytes, pack_floats};
use super::score::Hit;
use super::score::{dot_body, dot_rows};
use super::{BLOCK, Excluded, LANES, STRIP, TopKError};
use crate::Isa;
use crate::isa::by_isa;

/// Up to [`LANES`] users, their bounds and the best items that they have so far.
pub(crate) struct Tile<'a> {
    /// The first of them.
    first: usize,
    dim: usize,
    /// Row-major [users, dim].
    queries: &'a [f32],
    excluded: [Excluded<'a>; LANES],
    pub(crate) packed: Packed,
    pub(crate) lanes: LaneFacts,
    best: Vec<Best>,
    proposed: [u32; LANES],
    /// Whether no later item can be among the best of any user.
    pub(crate) finished: bool,
}

impl<'a> Tile<'a> {
    /// The users `first..` whose vectors are `queries`.
    pub(crate) fn new(
        items: &Items,
        queries: &'a [f32],
        first: usize,
        k: usize,
        exclude: &(dyn Fn(usize) -> Excluded<'a> + Sync),
    ) -> Result<Self, TopKError> {
        let dim = items.dim;
        let users = queries.len() / dim;
        let mut tile = Tile {
            first,
            dim,
            queries,
            excluded: [Excluded::Nothing; LANES],
            packed: Packed::Nothing,
            lanes: LaneFacts::new(underflow(dim) * 2.0),
            best: (0..users).map(|_| Best::new(k)).collect(),
            proposed: [0; LANES],
            finished: false,
        };
        let longest = items.blocks.first().map_or(0.0, |block| block.length);
        let by_bytes = items.byte_stride > 0;
        for (lane, query) in queries.chunks_exact(dim).enumerate() {
            let length = length(query);
            if !length.is_finite() {
                return Err(TopKError::Query(first + lane));
            }
            tile.excluded[lane] = exclude(first + lane);
            tile.lanes.used[lane] = length * longest < LONGEST;
            tile.lanes.reach[lane] = length * (1.0 + canonical(dim)) * UP;
            if by_bytes {
                tile.lanes.scale[lane] = scale_for(query);
                let (lost, sum) = rounding(query, tile.lanes.scale[lane]);
                tile.lanes.by_rounded[lane] = length + lost;
                tile.lanes.by_length[lane] = lost + canonical(dim) * length;
                tile.lanes.offset[lane] = sum * super::items::OFFSET;
            } else {
                tile.lanes.by_length[lane] = (canonical(dim) + sequential(dim)) * length;
            }
        }
        tile.packed = if by_bytes {
            Packed::Bytes(pack_bytes(queries, dim, &tile.lanes.scale))
        } else {
            Packed::Floats(pack_floats(queries, dim))
        };
        Ok(tile)
    }

    /// How many of `k` best items there are that are not excluded, at the most.
    pub(crate) fn rank_among_all(&self, lane: usize, k: usize) -> usize {
        k + self.excluded[lane].count()
    }

    /// Raises the floors by what the largest values of strips guarantee: among items of different strips, of which as many
    /// as are excluded may not count, the k-th largest guarantee is reached by the k-th best item.
    pub(crate) fn raise_floors(&mut self, blocks: &[BlockFacts], maxima: &Maxima, k: usize) {
        let mut guaranteed = Vec::new();
        for lane in 0..self.best.len() {
            let rank = self.rank_among_all(lane, k);
            if rank == 0 || rank > maxima.strips() || !self.lanes.used[lane] {
                continue;
            }
            guaranteed.clear();
            guaranteed.extend(maxima.of_lane(lane, &self.lanes, |strip| &blocks[strip * STRIP / BLOCK]));
            let (_, reached, _) = guaranteed.select_nth_unstable_by(rank - 1, |a: &f32, b| b.total_cmp(a));
            self.lanes.floor[lane] = *reached;
        }
    }

    /// Scores what was proposed of a block.
    pub(crate) fn score(&mut self, isa: Isa, items: &Items, block: usize, proposed: &Proposed) {
        let start = block * BLOCK;
        let end = (start + BLOCK).min(items.count);
        let (rows, order) = (
            &items.vectors[start * self.dim..end * self.dim],
            &items.order[start..end],
        );
        score(isa, self, rows, order, proposed);
    }

    /// Scores all items for the users that are not served by proposals.
    pub(crate) fn score_all(&mut self, isa: Isa, items: &Items) -> Result<(), TopKError> {
        let mut scores = vec![0.0; items.count.min(BLOCK)];
        for (lane, query) in self.queries.chunks_exact(self.dim).enumerate() {
            if self.lanes.used[lane] {
                continue;
            }
            let blocks = items.vectors.chunks(self.dim * BLOCK).zip(items.order.chunks(BLOCK));
            for (rows, order) in blocks {
                dot_rows(isa, query, rows, &mut scores);
                for (&row, &score) in order
                    .iter()
                    .zip(&scores)
                    .filter(|(row, _)| !self.excluded[lane].has(**row))
                {
                    if score.is_nan() {
                        return Err(TopKError::Score {
                            query: self.first + lane,
                            item: row as usize,
                        });
                    }
                    self.best[lane].push(score, row);
                    self.proposed[lane] += 1;
                }
            }
        }
        Ok(())
    }

    /// The lists of the users, and how many items were proposed for each.
    pub(crate) fn finish(self) -> impl Iterator<Item = (Vec<Hit>, u32)> {
        self.best.into_iter().map(Best::into_hits).zip(self.proposed)
    }
}

/// What rounding takes from a query, and the sum of its whole numbers.
fn rounding(query: &[f32], scale: f64) -> (f64, i32) {
    let (mut lost, mut sum) = (0.0, 0);
    for &x in query {
        let (whole, error) = rounded(x, scale);
        lost += error * error;
        sum += whole as i32;
    }
    (lost.sqrt() * UP, sum)
}

by_isa! {
    fn score(tile: &mut Tile<'_>, rows: &[f32], order: &[u32], proposed: &Proposed) = score_body;
}

#[inline(always)]
fn score_body(tile: &mut Tile<'_>, rows: &[f32], order: &[u32], proposed: &Proposed) {
    let dim = tile.dim;
    for (item, mut lanes) in proposed.iter() {
        let row = order[item];
        let vector = &rows[item * dim..(item + 1) * dim];
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            tile.proposed[lane] += 1;
            let score = dot_body(&tile.queries[lane * dim..(lane + 1) * dim], vector);
            if score >= tile.lanes.floor[lane]
                && !tile.excluded[lane].has(row)
                && let Some(floor) = tile.best[lane].push(score, row)
            {
                tile.lanes.floor[lane] = floor.max(tile.lanes.floor[lane]);
            }
        }
    }
}
